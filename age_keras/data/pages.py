"""A page to patches: scale it, cut it, keep what has ink.

The defaults are the published protocol of the study on HHD-Age: shorter side 800 px (Lanczos), both sides cut down so
that 400-px patches at stride 200 tile the page exactly, the cut being part of the one resampling, as published.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from age_keras.data.decode import MAX_PIXELS, decode_page, page_thumbnail
from age_keras.errors import InputError

__all__ = ["Page", "PageSettings", "cut_page", "decode_page", "page_thumbnail", "scaled_size"]

PUBLISHED_MEAN = 0.0054  # the study drops patches whose mean of pixels / 255 is not over this: black ones
MIN_CONTRAST = 30  # grey levels between ink and paper, below which Otsu has split the paper itself


@dataclasses.dataclass(frozen=True)
class PageSettings:
    """How pages become patches.

    Args:
        shorter_side: the page is scaled so that its shorter side has this many pixels; `None` keeps the scan's own
            resolution (where scale carries meaning) and fills up with paper colour to whole patches instead of
            cutting down. Defaults to 800.
        patch_size: side of a patch, in pixels of the scaled page. A side of the page that is shorter is filled up
            with paper colour. Defaults to 400.
        stride: step between patches, in pixels. Defaults to 200.
        image_size: side that a patch is resized to (bicubic, antialiased) before it is stored. Defaults to
            `patch_size`.
        channels: 1 (grey) or 3 (RGB). Defaults to 1.
        blank: which patches are left out: `ink`, those with less than `min_ink`; `published`, those whose mean of
            pixels / 255 is not over 0.0054, that is black ones (white paper stays); `none`. Defaults to `ink`.
        min_ink: least share of dark pixels (Otsu over the page) of a patch, from 0 to 1. Defaults to 0.005.
    """

    shorter_side: int | None = 800
    patch_size: int = 400
    stride: int = 200
    image_size: int | None = None
    channels: Literal[1, 3] = 1
    blank: Literal["ink", "published", "none"] = "ink"
    min_ink: float = 0.005

    def __post_init__(self):
        for name in ("shorter_side", "patch_size", "stride", "image_size"):
            value = getattr(self, name)
            if value is None and name in ("shorter_side", "image_size"):
                continue
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a whole number of pixels, at least 1. Received: {name}={value!r}")
        if self.stride > self.patch_size:
            raise InputError(f"stride must not exceed patch_size. Received: stride={self.stride}")
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 or 3. Received: channels={self.channels!r}")
        if self.blank not in ("ink", "published", "none"):
            raise InputError(f"blank must be ink, published or none. Received: blank={self.blank!r}")
        if not 0 <= self.min_ink <= 1:
            raise InputError(f"min_ink must be a share from 0 to 1. Received: min_ink={self.min_ink!r}")

    @property
    def side(self) -> int:
        """Side of a stored patch, in pixels."""
        return self.image_size or self.patch_size

    @property
    def key(self) -> str:
        """A hash of all settings that change a pixel."""
        values = dataclasses.asdict(self) | {"image_size": self.side}
        if self.blank != "ink":
            del values["min_ink"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclasses.dataclass(frozen=True)
class Page:
    """The patches of one page.

    Args:
        patches: uint8, (P, side, side, channels), in reading order of the tiles, left to right, top to bottom.
        boxes: int32, (P, 4): x, y, width, height in pixels of the scaled page.
        size: width and height of the scaled page.
        blank: no patch passed the filter, so the inkiest one was kept.
    """

    patches: np.ndarray
    boxes: np.ndarray
    size: tuple[int, int]
    blank: bool


def scaled_size(width: int, height: int, settings: PageSettings) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sizes of a page, (width, height): as resampled, and as tiled (larger where it is filled up with paper)."""
    patch, stride = settings.patch_size, settings.stride
    if settings.shorter_side is None:
        filled = tuple(max(patch, side + (patch - side) % stride) for side in (width, height))
        return (width, height), filled
    aspect = width / height
    if height < width:
        scaled = (int(settings.shorter_side * aspect), settings.shorter_side)
    else:
        scaled = (settings.shorter_side, int(settings.shorter_side / aspect))
    resampled = tuple(side if side < patch else side - (side - patch) % stride for side in scaled)
    return resampled, tuple(max(patch, side) for side in resampled)


def cut_page(path: str | Path, settings: PageSettings) -> Page:
    """Decodes a page, scales it, cuts it into patches and drops the blank ones.

    Raises:
        InputError: the page cannot be decoded, or is so narrow that scaling it would make it enormous.
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
    ink = _ink_shares(pixels, boxes)
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


def _ink_shares(pixels: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Share of each patch's pixels that are at or below the page's threshold between ink and paper."""
    grey = pixels[..., 0] if pixels.shape[-1] == 1 else np.asarray(Image.fromarray(pixels).convert("L"))
    dark = grey <= ink_threshold(grey)
    return np.array([np.count_nonzero(dark[y : y + h, x : x + w]) / (w * h) for x, y, w, h in boxes])


def ink_threshold(grey: np.ndarray) -> int:
    """Otsu's threshold of a page: pixels at or below it are ink; -1 where there is no ink.

    Otsu splits any picture, an empty sheet into its lighter and its darker noise too: where the two parts differ by
    less than `MIN_CONTRAST` grey levels there is nothing but paper.

    Source: N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979).
    """
    share = np.bincount(grey.ravel(), minlength=256) / grey.size
    levels = np.arange(256)
    below, mass = share.cumsum(), (share * levels).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        dark, light = mass / below, (mass[-1] - mass) / (1 - below)
        between = np.nan_to_num(below * (1 - below) * (light - dark) ** 2, posinf=0)
    best = int(np.argmax(between))
    if not light[best] - dark[best] >= MIN_CONTRAST:
        return -1
    return best


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
