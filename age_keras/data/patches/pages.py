"""A page to patches: scale it, cut it, keep what has ink.

The defaults are the published protocol of the study on HHD-Age: shorter side 800 px (Lanczos), both sides cut down so
that 400-px patches at stride 200 tile the page exactly, the cut being part of the one resampling, as published.
"""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from age_keras.config.pages import PageSettings
from age_keras.data.patches.decode import MAX_PIXELS, decode_page
from age_keras.data.patches.ink import ink_mask
from age_keras.errors import InputError

PUBLISHED_MEAN = 0.0054  # the study drops patches whose mean of pixels / 255 is not over this: black ones


@dataclasses.dataclass(frozen=True)
class Page:
    """The patches of one page.

    Args:
        patches: uint8, (P, side, side, channels), in reading order of the tiles, left to right, top to bottom.
        boxes: Int32, (P, 4): x, y, width, height in pixels of the scaled page.
        size: Width and height of the scaled page.
        blank: No patch passed the filter, so the inkiest one was kept.
    """

    patches: np.ndarray
    boxes: np.ndarray
    size: tuple[int, int]
    blank: bool


def scaled_size(width: int, height: int, settings: PageSettings) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sizes of a page, (width, height): as resampled, and as tiled (larger where it is filled up with paper)."""
    patch, stride = settings.patch_size, settings.stride
    if settings.shorter_side is None:

        def filled(side: int) -> int:
            return max(patch, side + (patch - side) % stride)

        return (width, height), (filled(width), filled(height))
    aspect = width / height
    if height < width:
        scaled = (int(settings.shorter_side * aspect), settings.shorter_side)
    else:
        scaled = (settings.shorter_side, int(settings.shorter_side / aspect))
    width, height = (side if side < patch else side - (side - patch) % stride for side in scaled)
    return (width, height), (max(patch, width), max(patch, height))


def cut_page(path: str | Path, settings: PageSettings) -> Page:
    """Decodes a page, scales it, cuts it into patches and drops the blank ones.

    Raises:
        InputError: The page cannot be decoded, or is so narrow that scaling it would make it enormous.
    """
    return cut_scaled(scale_page(path, settings), settings)


def scale_page(path: str | Path, settings: PageSettings) -> np.ndarray:
    """Decodes and scales a page, as patches are cut from it: uint8 (height, width, channels). See `cut_page`."""
    page = decode_page(path, settings.channels)
    resampled, filled = scaled_size(*page.size, settings)
    if filled[0] * filled[1] > MAX_PIXELS:
        raise InputError(f"{path} is {page.width} x {page.height} px, too narrow a strip to scale to a page.")
    if resampled != page.size:
        page = page.resize(resampled, Image.Resampling.LANCZOS)
    pixels = np.asarray(page).reshape(page.height, page.width, settings.channels)
    return pixels if filled == resampled else _fill_up(pixels, filled)


def cut_scaled(pixels: np.ndarray, settings: PageSettings) -> Page:
    """Cuts a scaled page, uint8 (height, width, channels), into patches and drops the blank ones."""
    boxes = _tiles((pixels.shape[1], pixels.shape[0]), settings)
    ink = _ink_fractions(pixels, boxes)
    keep = _keep(pixels, boxes, ink, settings)
    blank = not keep.any()
    if blank:
        keep[np.argmax(ink)] = True
    boxes = boxes[keep]
    return Page(patches_at(pixels, boxes, settings), boxes, (pixels.shape[1], pixels.shape[0]), blank)


def patches_at(pixels: np.ndarray, boxes: np.ndarray, settings: PageSettings) -> np.ndarray:
    """The patches of a scaled page at some boxes (P, 4): uint8 (P, side, side, channels)."""
    patches = np.stack([pixels[y : y + h, x : x + w] for x, y, w, h in boxes])
    if settings.side != settings.patch_size:
        patches = np.stack([_resize(patch, settings.side) for patch in patches])
    return patches


def _tiles(size: tuple[int, int], settings: PageSettings) -> np.ndarray:
    patch, stride = settings.patch_size, settings.stride
    columns, rows = (range(0, side - patch + 1, stride) for side in size)
    return np.array([(x, y, patch, patch) for y in rows for x in columns], np.int32)


def _keep(pixels: np.ndarray, boxes: np.ndarray, ink: np.ndarray, settings: PageSettings) -> np.ndarray:
    if settings.blank == "ink":
        return (ink > 0) & (ink >= settings.min_ink)
    if settings.blank == "published":
        return np.array([pixels[y : y + h, x : x + w].mean() / 255 > PUBLISHED_MEAN for x, y, w, h in boxes])
    return np.ones(len(boxes), bool)


def _ink_fractions(pixels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The fraction of each patch's pixels that are ink."""
    ink = ink_mask(pixels)
    return np.array([np.count_nonzero(ink[y : y + h, x : x + w]) / (w * h) for x, y, w, h in boxes])


def _fill_up(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The page at the top left of a sheet of its own paper's colour (the median of each channel)."""
    channels = pixels.shape[-1]
    sheet = np.empty((size[1], size[0], channels), np.uint8)
    for channel in range(channels):
        counts = np.bincount(pixels[..., channel].ravel(), minlength=256).cumsum()
        sheet[..., channel] = np.searchsorted(counts, counts[-1] / 2)
    sheet[: pixels.shape[0], : pixels.shape[1]] = pixels
    return sheet


def _resize(patch: np.ndarray, side: int) -> np.ndarray:
    image = Image.fromarray(patch[..., 0] if patch.shape[-1] == 1 else patch)
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC)).reshape(side, side, -1)
