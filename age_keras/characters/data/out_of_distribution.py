"""Out-of-distribution images, which show no digit: a recogniser should be unsure of them."""

from pathlib import Path

import numpy as np

from age_keras.characters.config import WarpSettings
from age_keras.characters.data.images import prepare_character
from age_keras.characters.data.warp import warp_batch

# Letters that no one would take for a digit (O, I, S, Z, B, G, l, o, z ... are left out).
LETTERS = "ACEFHKMNPRTUVWXYaefhkmnrtuvwxy"
LETTER_WARP = WarpSettings(rotation=12, zoom=0.12, shear=0.15, shift=0.08, elastic=0.8)


def out_of_distribution(images: np.ndarray, count: int = 1000, seed: int = 0, letters: Path | None = None) -> dict:
    """Sets of images that show no digit.

    Args:
        images: `uint8 (N, S, S)`, real digits, which some sets are made of.
        count: Images in each set. Defaults to 1000.
        seed: Seed of what is random. Defaults to 0.
        letters: EMNIST's files, whose handwritten letters of `LETTERS` are then a set too. Defaults to none.

    Returns:
        Name of the set to `uint8 (count, S, S)`: "stroke letters" (drawn with OpenCV's pen fonts and warped), "uniform
        noise", "smooth noise", "tiles" (a digit's quarters in another order), "two digits" (one over another),
        "blank".
    """
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    side = images.shape[1]
    shape = (count, side, side)
    smooth = gaussian_filter(rng.normal(size=shape), (0, side / 14, side / 14))
    smooth = np.clip(smooth / smooth.std() * 127, 0, 255)
    some, others = (images[rng.integers(0, len(images), count)] for _ in range(2))
    half = side // 2
    tiles = some.copy()
    tiles[:, :half, :half], tiles[:, half : 2 * half, half : 2 * half] = (
        some[:, half : 2 * half, half : 2 * half],
        some[:, :half, :half],
    )
    sets = {
        "stroke letters": stroke_letters(count, side, rng),
        "uniform noise": rng.integers(0, 256, shape, dtype=np.uint8),
        "smooth noise": smooth.astype(np.uint8),
        "tiles": tiles,
        "two digits": np.maximum(some, others),
        "blank": np.zeros(shape, np.uint8),
    }
    if letters is not None:
        from age_keras.characters.data.emnist import load_emnist

        found = load_emnist(letters, "byclass").part("test")
        rows = np.flatnonzero(np.isin(np.array(found.classes)[found.labels], list(LETTERS)))
        sets["EMNIST letters"] = found.images[rng.permutation(rows)[:count]]
    return sets


def stroke_letters(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Letters in OpenCV's pen (Hershey) fonts of several kinds and widths, made like MNIST and warped."""
    import cv2

    fonts = (
        cv2.FONT_HERSHEY_SIMPLEX,
        cv2.FONT_HERSHEY_COMPLEX,
        cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
        cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
    )
    letters = np.empty((count, side, side), np.uint8)
    for i in range(count):
        canvas = np.zeros((120, 120), np.uint8)
        letter, font = LETTERS[rng.integers(len(LETTERS))], fonts[rng.integers(len(fonts))]
        cv2.putText(canvas, letter, (30, 85), font, 2.2, 255, int(rng.integers(4, 9)), cv2.LINE_AA)
        letters[i] = prepare_character(canvas, side)
    return warp_batch(letters, rng, LETTER_WARP)
