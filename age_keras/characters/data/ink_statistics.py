"""What the ink of small grey characters says by itself: amount, grey levels, size, slant, stroke width, edges."""

import itertools

import cv2
import numpy as np

_EDGES = (1, 32, 64, 96, 128, 160, 192, 224, 252, 253, 254, 255, 256)  # The ends of the grey levels told apart.
STATISTICS = (
    "ink",
    "pixels",
    *(f"grey {low}-{high - 1}" for low, high in itertools.pairwise(_EDGES)),
    "height",
    "width",
    "centre y",
    "centre x",
    "spread y",
    "spread x",
    "slant",
    "stroke width",
    "stroke width spread",
    "stroke length",
    "edges x",
    "edges y",
    "sharpness x",
    "sharpness y",
    "curvature",
    "hard edges",
)
"""The names of the columns of `ink_statistics`."""


def ink_statistics(images: np.ndarray) -> np.ndarray:
    """Measures every character.

    Args:
        images: `uint8 (N, S, S)`, bright ink on a background of 0.

    Returns:
        `float32 (N, len(STATISTICS))`; zeros for an image without ink.
    """
    found = np.zeros((len(images), len(STATISTICS)), np.float32)
    for row, image in zip(found, images, strict=True):
        if image.any():
            row[:] = _of_one(image)
    return found


def _of_one(image: np.ndarray) -> list[float]:
    grey = image.astype(np.float32) / 255
    ink, inked = float(grey.sum()), image[image > 0]
    levels = np.histogram(inked, _EDGES)[0] / len(inked)
    dark = image > min(64, int(image.max()) - 1)
    height, width = (np.ptp(np.flatnonzero(dark.any(axis=axis))) for axis in (1, 0))
    line = np.arange(len(image))
    rows, columns = grey.sum(axis=1), grey.sum(axis=0)
    y, x = rows @ line / ink, columns @ line / ink
    spread_y, spread_x = rows @ (line - y) ** 2 / ink, columns @ (line - x) ** 2 / ink
    slant = (line - y) @ grey @ (line - x) / ink / max(spread_y, 1e-6)
    # The ridge of the distance to the background is the middle of the stroke: its height there is half the width.
    distance = cv2.distanceTransform((image > 127).astype(np.uint8), cv2.DIST_L2, 3)
    ridge = distance[(distance > 0) & (distance >= cv2.dilate(distance, np.ones((3, 3))) - 1e-6)]
    half, half_spread = (ridge.mean(), ridge.std()) if len(ridge) else (0.0, 0.0)
    step_x, step_y = np.diff(grey, axis=1), np.diff(grey, axis=0)
    edges = [np.abs(step_x).sum(), np.abs(step_y).sum(), (step_x**2).sum(), (step_y**2).sum()]
    edges += [(cv2.Laplacian(grey, cv2.CV_32F) ** 2).sum(), (np.abs(step_x) > 0.9).sum()]
    shape = [height, width, y, x, spread_y, spread_x, slant, half, half_spread, len(ridge)]
    return [ink, len(inked), *levels, *shape, *(e / ink for e in edges)]
