"""The zones of a scaled page, and the same page with a part erased or changed."""

import cv2
import numpy as np

from age_keras.data.patches.ink import ink_mask, paper_colour

CORNER, MARGIN = 0.15, 0.08  # of the page's shorter side
LINE = 6  # A ruled line is straight ink over at least a sixth of the page's width.
ZONES = ("corners", "margins", "lines", "writing", "paper")


def zones_of(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Parts a page (H, W, C) into zones, bool (H, W) each, that do not overlap and cover it.

    `corners` and `margins` by place, with all that is in them; then `lines`, long straight level strokes; `writing`,
    the other ink with its edge; and `paper`.
    """
    height, width = pixels.shape[:2]
    side = min(height, width)
    corner, margin = round(CORNER * side), round(MARGIN * side)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None]
    down, across = np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns)
    corners = (down < corner) & (across < corner)
    margins = ((down < margin) | (across < margin)) & ~corners
    ink = ink_mask(pixels).astype(np.uint8)
    lines = cv2.morphologyEx(ink, cv2.MORPH_OPEN, np.ones((1, max(9, width // LINE)), np.uint8))
    kernel = np.ones((5, 5), np.uint8)
    inner = ~(corners | margins)
    lines = cv2.dilate(lines, kernel).astype(bool) & inner
    writing = cv2.dilate(ink, kernel).astype(bool) & inner & ~lines
    return {
        "corners": corners,
        "margins": margins,
        "lines": lines,
        "writing": writing,
        "paper": inner & ~lines & ~writing,
    }


def erased(pixels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The page with a part in its paper's colour."""
    out = pixels.copy()
    out[where] = np.rint(paper_colour(pixels))
    return out


def as_much_writing(
    pixels: np.ndarray, zones: dict[str, np.ndarray], zone: str, rng: np.random.Generator
) -> np.ndarray:
    """Some of the writing, as much ink as a zone holds, at random places: bool (H, W). What erasing it does is what
    erasing any ink does."""
    ink, writing = ink_mask(pixels), zones["writing"]
    wanted, block = int((ink & zones[zone]).sum()), max(8, min(ink.shape) // 40)
    chosen = np.zeros_like(writing)
    for place in rng.permutation(-(-ink.shape[0] // block) * -(-ink.shape[1] // block)):
        if wanted <= 0:
            break
        row, column = np.multiply(divmod(place, -(-ink.shape[1] // block)), block)
        part = np.s_[row : row + block, column : column + block]
        wanted -= int((ink[part] & writing[part]).sum())
        chosen[part] = writing[part]
    return chosen


def paper_alone(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The page as if nothing were written on it: its own paper, with its shading and its grain, where the ink was."""
    ink = cv2.dilate(ink_mask(pixels).astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
    ground = _ground(pixels, ink)
    grain = np.where(ink[..., None], 0, pixels - ground)
    for _ in range(4):  # grain from elsewhere; what falls on ink again is taken from yet another place
        empty = ink & (grain == 0).all(axis=-1)
        shift = [int(rng.integers(side // 8, side - side // 8)) for side in ink.shape]
        grain[empty] = np.roll(np.where(ink[..., None], 0, pixels - ground), shift, axis=(0, 1))[empty]
    return np.rint(np.where(ink[..., None], ground + grain, pixels)).clip(0, 255).astype(np.uint8)


def ink_alone(pixels: np.ndarray, paper: np.ndarray) -> np.ndarray:
    """The ink, as much darker than its own paper as it was, on an even sheet of another colour (C,)."""
    ink = cv2.dilate(ink_mask(pixels).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    ground = np.maximum(_ground(pixels, ink), 1)
    return np.rint(np.where(ink[..., None], pixels / ground * paper, paper)).clip(0, 255).astype(np.uint8)


def change_stroke_width(pixels: np.ndarray, grow: int) -> np.ndarray:
    """Every stroke wider (grow 1) or narrower (-1) by about one pixel of the scaled page on each side."""
    change = cv2.erode if grow > 0 else cv2.dilate  # dark ink on light paper
    return change(pixels, np.ones((3, 3), np.uint8)).reshape(pixels.shape)


def mean_stroke_width(pixels: np.ndarray) -> float:
    """The mean width of strokes in pixels of the scaled page; NaN without ink.

    In a stroke of width w the mean distance to the nearest edge is w / 4.
    """
    ink = ink_mask(pixels).astype(np.uint8)
    if not ink.any():
        return float("nan")
    return float(4 * cv2.distanceTransform(ink, cv2.DIST_L2, 5)[ink > 0].mean() - 1)


def _ground(pixels: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The paper's local colour, float32 (H, W, C): means of what is not ink, over a twelfth of the page."""
    size = (max(31, min(ink.shape) // 12 * 2 + 1),) * 2
    paper = (~ink).astype(np.float32)
    weight = cv2.blur(paper, size)[..., None]
    total = cv2.blur(pixels * paper[..., None], size).reshape(pixels.shape)
    whole = np.float32(paper_colour(pixels))
    return np.where(weight > 0.01, total / np.maximum(weight, 0.01), whole).astype(np.float32)
