"""Where a page has ink, and the colour of its paper."""

import cv2
import numpy as np
from PIL import Image

MIN_CONTRAST = 30  # grey levels between ink and paper, below which Otsu has split the paper itself


def ink_mask(pixels: np.ndarray) -> np.ndarray:
    """The places with ink: all pixels at or below Otsu's threshold of the page.

    Otsu splits any picture, an empty sheet into its lighter and its darker noise too: where the two parts differ by
    less than `MIN_CONTRAST` grey levels there is nothing but paper.

    Source: N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9 (1979).

    Args:
        pixels: uint8, (H, W, 1) or (H, W, 3), a page or a part of one.

    Returns:
        bool, (H, W).
    """
    grey = pixels[..., 0] if pixels.shape[-1] == 1 else np.asarray(Image.fromarray(pixels).convert("L"))
    _, dark = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)
    contrast = cv2.mean(grey, mask=1 - dark)[0] - cv2.mean(grey, mask=dark)[0]
    return dark.astype(bool) if contrast >= MIN_CONTRAST else np.zeros(grey.shape, bool)


def paper_colour(pixels: np.ndarray) -> np.ndarray:
    """The colour of the paper of a page: the median of what is not ink.

    Args:
        pixels: uint8, (H, W, C).

    Returns:
        float64, (C,).
    """
    paper = pixels[~ink_mask(pixels)]
    return np.median(paper if len(paper) else pixels.reshape(-1, pixels.shape[-1]), axis=0)
