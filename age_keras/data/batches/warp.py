"""One resampling for a whole geometric augmentation: rotation, shear, zoom, translation and elastic warp together.

Every resampling blurs thin strokes a little more, and costs a pass over the pixels. So all that moves pixels is first
composed into one map from the output to the input, and the uint8 pixels are read once, bilinearly, by OpenCV.

The elastic warp is a free-form deformation by cubic B-splines on a coarse grid of control points (Rueckert et al., IEEE
TMI 1999): smooth, and without folds as long as a control point moves by less than 0.48 of the grid's spacing.
"""

import functools
from typing import Any

import cv2
import numpy as np

CELLS = 8
"""Cells of the elastic warp's control grid along each side of a patch."""
_STEP = 8  # Pixels between the nodes of the mesh on which a map is computed before it is interpolated linearly.
_PAPER_PERCENTILE = 75


def border_colour(patches: np.ndarray) -> np.ndarray:
    """The colour that what a warp uncovers takes: the 75th percentile of the pixels on each patch's border.

    Ink covers less than a quarter of the border of nearly every patch of handwriting, and a percentile, other than the
    maximum, is a colour that the paper really has.

    Args:
        patches: uint8 (N, H, W, C).

    Returns:
        uint8 (N, C).
    """
    sides = [patches[:, 0], patches[:, -1], patches[:, :, 0], patches[:, :, -1]]
    border = np.concatenate(sides, axis=1)
    rank = (border.shape[1] - 1) * _PAPER_PERCENTILE // 100
    return np.partition(border, rank, axis=1)[:, rank]


def affine_matrices(
    height: int, width: int, *, rotation, shear, zoom, aspect, translation_x, translation_y
) -> np.ndarray:
    """The affine maps from output to input pixels, around the middle of the patch.

    Args:
        height: Height of the patch, in pixels.
        width: Width of the patch, in pixels.
        rotation: Degrees, counter-clockwise, (N,).
        shear: Horizontal shift a pixel of height (the tangent of the added slant), (N,).
        zoom: Magnification, 1.1 is ten per cent larger, (N,).
        aspect: Further magnification of the width and reduction of the height, (N,).
        translation_x: Shift to the right as a fraction of the width, (N,).
        translation_y: Shift downwards as a fraction of the height, (N,).

    Returns:
        float64 (N, 2, 3); the row `[a, b, c]` gives an input coordinate as `a * x + b * y + c`.
    """
    angle = np.deg2rad(rotation)
    cos, sin = np.cos(angle), np.sin(angle)
    one, zero = np.ones_like(cos), np.zeros_like(cos)
    rotate = _matrix(cos, sin, -sin, cos)  # y points down.
    slant = _matrix(one, -np.asarray(shear), zero, one)
    scale = _matrix(zoom * aspect, zero, zero, zoom / aspect)
    inverse = np.linalg.inv(rotate @ slant @ scale)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = np.stack([translation_x * width, translation_y * height], axis=-1)
    offset = centre - np.einsum("nij,nj->ni", inverse, centre + shift)
    return np.concatenate([inverse, offset[..., None]], axis=2)


def meshes(height: int, width: int, matrices: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Affine maps with an elastic warp, on a mesh of one node every eight pixels.

    Args:
        height: Height of the patch, in pixels.
        width: Width of the patch, in pixels.
        matrices: Float (N, 2, 3), from `affine_matrices`.
        controls: Float (N, 2, CELLS + 3, CELLS + 3): how far each control point moves in x and in y, in pixels.

    Returns:
        float32 (N, rows, columns, 2): the input's x and y at each node, to be given to `warp`.
    """
    xs, along_x = _nodes(width)
    ys, along_y = _nodes(height)
    coefficient = matrices[..., None, None]
    straight = coefficient[:, :, 0] * xs[None, :] + coefficient[:, :, 1] * ys[:, None] + coefficient[:, :, 2]
    return np.moveaxis(straight + along_y @ controls @ along_x.T, 1, -1).astype(np.float32)


def warp(pixels: np.ndarray, paper: np.ndarray, matrix: Any, mesh: Any) -> np.ndarray:
    """Resamples one patch, bilinearly and once; what lies outside of it has the colour of its paper.

    Args:
        pixels: uint8 (H, W) or (H, W, 3).
        paper: Its colour, (C,).
        matrix: The affine map, (2, 3), when there is no elastic warp.
        mesh: The map with the elastic warp, from `meshes`, else None.

    Returns:
        uint8, of the shape of `pixels`.
    """
    height, width = pixels.shape[:2]
    colour = tuple(float(value) for value in paper)
    pixels = pixels.astype(np.float32)  # OpenCV interpolates floats faster than bytes, and more exactly.
    if mesh is None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(pixels, matrix, (width, height), flags=flags, borderValue=colour)
    else:
        rows, columns = mesh.shape[:2]
        full = cv2.resize(mesh, (columns * _STEP, rows * _STEP), interpolation=cv2.INTER_LINEAR)
        full = full[_STEP : _STEP + height, _STEP : _STEP + width]
        none: Any = None  # The map is in one array.
        border = cv2.BORDER_CONSTANT
        warped = cv2.remap(pixels, full, none, cv2.INTER_LINEAR, borderMode=border, borderValue=colour)
    return cv2.convertScaleAbs(warped)  # Rounds to uint8.


@functools.lru_cache(maxsize=16)
def _nodes(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the mesh's nodes lie along a side, in pixels, (M,), and the B-splines' values there, (M, CELLS + 3)."""
    count = -(-side // _STEP) + 2  # One more at each end, so that no pixel is extrapolated.
    positions = _STEP * (np.arange(count) - 0.5) - 0.5
    u = (positions - positions[0]) / (positions[-1] - positions[0]) * CELLS
    cell = np.minimum(u.astype(int), CELLS - 1)
    t = u - cell
    values = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    basis = np.zeros((count, CELLS + 3))
    for k, value in enumerate(values):
        basis[np.arange(count), cell + k] = value / 6
    return positions, basis


def _matrix(a, b, c, d) -> np.ndarray:
    return np.stack([np.stack([a, b], axis=-1), np.stack([c, d], axis=-1)], axis=-2)
