"""What changes grey levels in place: stroke thickness, tone, noise, paper texture, erasing.

Each function takes one uint8 patch, (H, W) or (H, W, 3), and returns a new one (or changes it where it says so).
"""

import functools
import math

import cv2
import numpy as np

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_BANK_SEED = 20260101
_STEPS = 32  # Steps of the noise banks per standard deviation; they reach 4 deviations to each side.


def thicken(pixels: np.ndarray, amount: float) -> np.ndarray:
    """Makes dark strokes thicker (amount > 0) or thinner (< 0).

    A mix of the patch with its grey-level erosion or dilation by a 3x3 cross: the change is a fraction of a pixel.

    Args:
        pixels: The patch.
        amount: From -1 to 1; at 1 every stroke grows by one pixel to each side.
    """
    grown = cv2.erode(pixels, _CROSS) if amount > 0 else cv2.dilate(pixels, _CROSS)
    return cv2.addWeighted(pixels, 1 - abs(amount), grown, abs(amount), 0)


def tone(
    pixels: np.ndarray,
    contrast: float = 1.0,
    pivot: float = 0.0,
    brightness: float = 0.0,
    noise: np.ndarray | None = None,
    deviation: float = 0.0,
) -> np.ndarray:
    """Changes contrast and brightness and adds noise, in one pass with one rounding.

    Args:
        pixels: The patch.
        contrast: What the distance of every pixel from `pivot` is multiplied by. Defaults to 1.
        pivot: The grey level that contrast leaves as it is. Defaults to 0.
        brightness: Grey levels to add. Defaults to 0.
        noise: Noise from `white_noise` or `paper_texture`. Defaults to None.
        deviation: Standard deviation of the noise, in grey levels. Defaults to 0.
    """
    gain = deviation / _STEPS
    offset = pivot * (1 - contrast) + brightness - 128 * gain
    return cv2.addWeighted(pixels, contrast, pixels if noise is None else noise, gain, offset)


def mean_level(pixels: np.ndarray) -> float:
    """The mean grey level over pixels and channels."""
    return float(np.mean(cv2.mean(pixels)[: pixels.shape[2] if pixels.ndim == 3 else 1]))


def white_noise(shape: tuple[int, ...], place: float) -> np.ndarray:
    """White Gaussian noise, independent between pixels and channels, for `tone`.

    Args:
        shape: Shape of the patch.
        place: In [0, 1), where in a fixed bank of noise this patch's noise begins.

    Returns:
        uint8 of the given shape: noise of unit deviation, coded.
    """
    bank, size = _white_bank(_bank_side(max(shape))), math.prod(shape)
    start = int(place * (bank.size - size + 1))
    return bank[start : start + size].reshape(shape)


def paper_texture(shape: tuple[int, ...], places: np.ndarray) -> np.ndarray:
    """The texture of paper: grain, and unevenness about as large as a letter and as a word, for `tone`.

    Args:
        shape: Shape of the patch.
        places: (3,) in [0, 1): the row and the column of a fixed texture where this patch's begins, and its flip.

    Returns:
        uint8 of the given shape: noise of unit deviation, coded.
    """
    height, width = shape[:2]
    bank = _paper_bank(_bank_side(max(height, width)))
    top, left = int(places[0] * (len(bank) - height + 1)), int(places[1] * (len(bank) - width + 1))
    texture = bank[top : top + height, left : left + width]
    flip = int(places[2] * 4)
    texture = cv2.flip(texture, flip - 2) if flip else texture
    return cv2.merge([texture] * shape[2]) if len(shape) == 3 else texture


def erase(pixels: np.ndarray, paper: np.ndarray, box: np.ndarray) -> None:
    """Fills a rectangle with the colour of the paper, in place.

    Args:
        pixels: The patch.
        paper: Its colour, (C,).
        box: (4,), the rectangle's middle (y, x) and its size (height, width), as fractions of the patch.
    """
    sides = np.array(pixels.shape[:2])
    low = np.rint((box[:2] - box[2:] / 2) * sides).astype(int).clip(0)
    high = np.rint((box[:2] + box[2:] / 2) * sides).astype(int).clip(0)
    pixels[low[0] : high[0], low[1] : high[1]] = paper if pixels.ndim == 3 else paper[0]


def _bank_side(side: int) -> int:
    return max(1024, 1 << (2 * side - 1).bit_length())


@functools.lru_cache(maxsize=2)
def _white_bank(side: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(_BANK_SEED))
    # Larger than a square, so that the noise of a patch of three channels still has many places to begin.
    return _codes(generator.standard_normal((4 * side, side), dtype=np.float32)).reshape(-1)


@functools.lru_cache(maxsize=2)
def _paper_bank(side: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(_BANK_SEED + 1))
    total = np.zeros((side, side), np.float32)
    for sigma, weight in ((0.7, 0.6), (8.0, 0.5), (40.0, 0.6)):
        noise = generator.standard_normal((side, side), dtype=np.float32)
        layer = cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        total += weight * layer / layer.std()
    return _codes(total / total.std())


def _codes(noise: np.ndarray) -> np.ndarray:
    return np.rint(noise * _STEPS + 128).clip(0, 255).astype(np.uint8)
