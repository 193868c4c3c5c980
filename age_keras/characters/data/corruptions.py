"""The usual corruptions of small grey images, in the manner of MNIST-C (Mu & Gilmer 2019), plus rotation and shift.

Each is a function of images `uint8 (N, S, S)`, a severity from 1 to 5 and a seed, and gives `uint8 (N, S, S)`. They
are written for this project: figures are comparable between our models, not with published MNIST-C tables.
"""

from collections.abc import Callable

import numpy as np

from age_keras.characters.config import WarpSettings
from age_keras.characters.data.warp import affine_batch, warp_batch
from age_keras.errors import InputError

Corruption = Callable[[np.ndarray, int, int], np.ndarray]


def corrupt(images: np.ndarray, name: str, severity: int = 3, seed: int = 0) -> np.ndarray:
    """Applies a corruption by name.

    Args:
        images: `uint8 (N, S, S)`.
        name: One of `CORRUPTIONS`.
        severity: 1 (slight) to 5 (severe). Defaults to 3.
        seed: Seed of what is random in it. Defaults to 0.
    """
    if name not in CORRUPTIONS:
        raise InputError(f"There is no corruption {name!r}; there are {', '.join(CORRUPTIONS)}.")
    if severity not in (1, 2, 3, 4, 5):
        raise InputError(f"`severity` must be 1, 2, 3, 4 or 5. Received: severity={severity}.")
    return CORRUPTIONS[name](images, severity, seed)


def _clip(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def shot_noise(images, severity, seed):
    """Poisson noise of few photons."""
    photons = (60, 30, 18, 10, 6)[severity - 1]
    return _clip(np.random.default_rng(seed).poisson(images / 255 * photons) * (255 / photons))


def gaussian_noise(images, severity, seed):
    """Normal noise on every pixel."""
    spread = (20, 40, 60, 85, 110)[severity - 1]
    return _clip(images + np.random.default_rng(seed).normal(0, spread, images.shape))


def impulse_noise(images, severity, seed):
    """Salt and pepper."""
    fraction = (0.03, 0.07, 0.12, 0.2, 0.3)[severity - 1]
    rng = np.random.default_rng(seed)
    hit = rng.uniform(size=images.shape)
    return np.where(hit < fraction / 2, 0, np.where(hit > 1 - fraction / 2, 255, images)).astype(np.uint8)


def blur(images, severity, seed):
    """Gaussian blur."""
    from scipy.ndimage import gaussian_filter

    sigma = (0.6, 0.9, 1.2, 1.6, 2.0)[severity - 1]
    return _clip(gaussian_filter(images.astype(np.float32), (0, sigma, sigma)))


def motion_blur(images, severity, seed):
    """Blur along a line, each image along its own."""
    import cv2

    length = (3, 5, 7, 9, 11)[severity - 1]
    angles = np.random.default_rng(seed).uniform(0, 180, len(images))
    out = np.empty_like(images)
    for i, angle in enumerate(angles):
        turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle, 1)
        line = np.zeros((length, length), np.float32)
        line[length // 2] = 1
        kernel = cv2.warpAffine(line, turn, (length, length))
        out[i] = cv2.filter2D(images[i], -1, kernel / kernel.sum())
    return out


def brightness(images, severity, seed):
    """A lighter background."""
    return _clip(images.astype(np.float32) + (25, 50, 80, 110, 140)[severity - 1])


def contrast(images, severity, seed):
    """Paler ink."""
    return _clip(images * (0.7, 0.5, 0.35, 0.25, 0.17)[severity - 1])


def stripe(images, severity, seed):
    """A bar of inverted pixels across the middle (MNIST-C's stripe)."""
    side = images.shape[2]
    width = max(1, round(side * (0.04, 0.07, 0.11, 0.15, 0.2)[severity - 1]))
    out = images.copy()
    at = (side - width) // 2
    out[:, :, at : at + width] = 255 - out[:, :, at : at + width]
    return out


def dotted_line(images, severity, seed):
    """Dotted lines through random points."""
    count = severity
    rng = np.random.default_rng(seed)
    side = images.shape[1]
    out = images.copy()
    steps = np.arange(0, side, 2)
    for _ in range(count):
        ends = rng.uniform(0, side - 1, (2, 2, len(images)))
        for t in steps / side:
            row, column = np.rint(ends[0] + t * (ends[1] - ends[0])).astype(int)
            out[np.arange(len(images)), row, column] = 255
    return out


def erased(images, severity, seed):
    """A square of background at a random place."""
    side = images.shape[1]
    width = round(side * (0.15, 0.22, 0.29, 0.36, 0.43)[severity - 1])
    corner = np.random.default_rng(seed).integers(0, side - width + 1, (2, len(images), 1))
    line = np.arange(side)
    rows, columns = ((line >= c) & (line < c + width) for c in corner)
    return np.where(rows[:, :, None] & columns[:, None, :], np.uint8(0), images)


def thin(images, severity, seed):
    """Thinner strokes (a partial erosion)."""
    from scipy.ndimage import minimum_filter

    fraction = (0.3, 0.5, 0.7, 0.85, 1.0)[severity - 1]
    return _clip((1 - fraction) * images + fraction * minimum_filter(images, (1, 2, 2)).astype(np.float32))


def thick(images, severity, seed):
    """Thicker strokes (a partial dilation)."""
    from scipy.ndimage import maximum_filter

    fraction = (0.3, 0.5, 0.7, 0.85, 1.0)[severity - 1]
    return _clip((1 - fraction) * images + fraction * maximum_filter(images, (1, 3, 3)).astype(np.float32))


def elastic(images, severity, seed):
    """Elastic distortion."""
    spread = (0.8, 1.3, 1.8, 2.3, 2.8)[severity - 1]
    settings = WarpSettings(rotation=0, zoom=0, shear=0, shift=0, elastic=spread)
    return warp_batch(images, np.random.default_rng(seed), settings)


def _sign(images, seed):
    return np.random.default_rng(seed).choice([-1.0, 1.0], len(images))


def rotation(images, severity, seed):
    """Rotation to either side by 10 to 50 degrees."""
    return affine_batch(images, rotation=_sign(images, seed) * 10.0 * severity)


def shift(images, severity, seed):
    """A shift by 4 to 20 % of the side, in a random direction."""
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, len(images))
    far = 0.04 * severity * images.shape[1]
    return affine_batch(images, shift_x=far * np.cos(angle), shift_y=far * np.sin(angle))


def scale(images, severity, seed):
    """Smaller: 90 to 50 % of the size."""
    return affine_batch(images, zoom=1 - 0.1 * severity)


def shear(images, severity, seed):
    """Slant to either side by 0.15 to 0.75 of the height."""
    return affine_batch(images, shear=_sign(images, seed) * 0.15 * severity)


CORRUPTIONS: dict[str, Corruption] = {
    function.__name__: function
    for function in (
        shot_noise,
        gaussian_noise,
        impulse_noise,
        blur,
        motion_blur,
        brightness,
        contrast,
        stripe,
        dotted_line,
        erased,
        thin,
        thick,
        elastic,
        rotation,
        shift,
        scale,
        shear,
    )
}
