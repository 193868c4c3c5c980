"""What changes grey levels in place: stroke thickness, tone, noise, paper texture, erasing.

Each function takes one uint8 patch, (H, W) or (H, W, 3), and returns a new one (or changes it where it says so).
"""

import functools

import cv2
import numpy as np

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_BANK_SEED = 20260101
_STEPS = 32  # Steps of the noise banks per standard deviation; they reach 4 deviations to each side.


def thicken(pixels: np.ndarray, amount: float) -> np.ndarray:
    """Makes dark strokes thicker (amount > 0) or thinner (< 0).

    A mix of the patch with its grey-level erosion or dilation by a 3x3 cross, so that the change is a share of a pixel.

    Args:
        pixels: the patch.
        amount: from -1 to 1; at 1 every stroke grows by one pixel to each side.
    """
    grown = cv2.erode(pixels, _CROSS) if amount > 0 else cv2.dilate(pixels, _CROSS)
    return cv2.addWeighted(pixels, 1 - abs(amount), grown, abs(amount), 0)


def tone(pixels: np.ndarray, contrast: float, pivot: float, brightness: float) -> np.ndarray:
    """Multiplies the distance of every pixel from `pivot` by `contrast`, and adds `brightness` (grey levels)."""
    levels = (np.arange(256) - pivot) * contrast + pivot + brightness
    return cv2.LUT(pixels, np.rint(levels).clip(0, 255).astype(np.uint8))


def mean_level(pixels: np.ndarray) -> float:
    """The mean grey level over pixels and channels."""
    return float(np.mean(cv2.mean(pixels)[: pixels.shape[2] if pixels.ndim == 3 else 1]))


def add_noise(pixels: np.ndarray, deviation: float, place: float) -> np.ndarray:
    """Adds white Gaussian noise, independent between pixels and channels.

    Args:
        pixels: the patch.
        deviation: the standard deviation, in grey levels.
        place: in [0, 1), where in the fixed bank of noise this patch's noise begins.
    """
    bank = _white_noise(_bank_side(max(pixels.shape)), deviation)
    start = int(place * (bank.size - pixels.size + 1))
    return cv2.add(pixels, bank[start : start + pixels.size].reshape(pixels.shape), dtype=cv2.CV_8U)


def add_texture(pixels: np.ndarray, deviation: float, places: np.ndarray) -> np.ndarray:
    """Adds the texture of paper: grain, and unevenness about as large as a letter and as a word.

    Args:
        pixels: the patch.
        deviation: the standard deviation, in grey levels.
        places: (3,) in [0, 1): the row and the column of the fixed texture where this patch's begins, and its flip.
    """
    height, width = pixels.shape[:2]
    bank = _paper_bank(_bank_side(max(height, width)))
    top, left = (int(place * (len(bank) - side + 1)) for place, side in zip(places, (height, width), strict=False))
    texture = bank[top : top + height, left : left + width]
    flip = int(places[2] * 4)
    texture = cv2.flip(texture, flip - 2) if flip else texture
    if pixels.ndim == 3:
        texture = cv2.merge([texture] * pixels.shape[2])
    # One table look-up and one saturating addition.
    return cv2.add(pixels, _scaled(texture, deviation), dtype=cv2.CV_8U)


def erase(pixels: np.ndarray, paper: np.ndarray, box: np.ndarray) -> None:
    """Fills a rectangle with the colour of the paper, in place.

    Args:
        pixels: the patch.
        paper: its colour, (C,).
        box: (4,), the rectangle's middle (y, x) and its size (height, width), as shares of the patch.
    """
    sides = np.array(pixels.shape[:2])
    low = np.rint((box[:2] - box[2:] / 2) * sides).astype(int).clip(0)
    high = np.rint((box[:2] + box[2:] / 2) * sides).astype(int).clip(0)
    pixels[low[0] : high[0], low[1] : high[1]] = paper if pixels.ndim == 3 else paper[0]


def _scaled(codes: np.ndarray, deviation: float) -> np.ndarray:
    """Codes of noise of unit deviation (uint8) as grey levels (int8) of the given deviation."""
    levels = (np.arange(256) - 128) * (deviation / _STEPS)
    return cv2.LUT(codes, np.rint(levels).clip(-128, 127).astype(np.int8))


def _bank_side(side: int) -> int:
    return max(1024, 1 << (2 * side - 1).bit_length())


@functools.lru_cache(maxsize=4)
def _white_noise(side: int, deviation: float) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(_BANK_SEED))
    # Larger than a square, so that the noise of a patch of three channels still has many places to begin.
    noise = generator.standard_normal((4 * side, side), dtype=np.float32)
    return _scaled(_codes(noise), deviation).reshape(-1)


@functools.lru_cache(maxsize=2)
def _paper_bank(side: int) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(_BANK_SEED + 1))
    total = np.zeros((side, side), np.float32)
    for sigma, share in ((0.7, 0.6), (8.0, 0.5), (40.0, 0.6)):
        layer = generator.standard_normal((side, side), dtype=np.float32)
        layer = cv2.GaussianBlur(layer, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        total += share * layer / layer.std()
    return _codes(total / total.std())


def _codes(noise: np.ndarray) -> np.ndarray:
    return np.rint(noise * _STEPS + 128).clip(0, 255).astype(np.uint8)
