"""Strokes made thicker or thinner, each image by its own amount: another pen, another pressure."""

import numpy as np

THINNEST = 0.8  # A whole step of erosion would take the faintest strokes away.


def vary_width(images: np.ndarray, rng: np.random.Generator, share: float) -> np.ndarray:
    """Moves some images part of the way towards their dilation (thicker) or their erosion (thinner).

    Dilation and erosion are those of grey images (Serra 1982) by a cross of 3x3 pixels: at most one pixel on each side
    of a stroke.

    Args:
        images: `uint8 (N, H, W)`, bright ink on a ground of 0.
        rng: the source of all randomness: the same state gives the same copies.
        share: of the images that are changed; half of them become thicker, half thinner.

    Returns:
        `uint8 (N, H, W)`.
    """
    import cv2

    count, height, width = images.shape
    chosen = rng.uniform(size=count)
    amount = rng.uniform(size=(count, 1, 1)).astype(np.float32)
    stacked = np.zeros((count, height + 2, width), np.uint8)  # A blank row above and below keeps neighbours apart.
    stacked[:, 1:-1] = images
    tall = stacked.reshape(-1, width)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    thick, thin = (f(tall, cross).reshape(stacked.shape)[:, 1:-1] for f in (cv2.dilate, cv2.erode))
    ink = images.astype(np.float32)
    thicker, thinner = ink + (thick - ink) * amount, ink - (ink - thin) * (THINNEST * amount)
    half, whole = (chosen < share / 2)[:, None, None], (chosen < share)[:, None, None]
    return np.where(half, thicker, np.where(whole, thinner, ink)).astype(np.uint8)
