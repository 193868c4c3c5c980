"""Weights for rare ages: label distribution smoothing (LDS), Yang et al. 2021, arXiv:2102.09554."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

SMOOTHING = 2.0  # years, the standard deviation of the Gaussian kernel, as in the paper's age experiments


def lds_weights(ages: np.ndarray) -> np.ndarray:
    """Weights inversely proportional to the square root of the smoothed density of ages.

    Args:
        ages: years, (N,).

    Returns:
        float32 (N,), with mean 1.
    """
    years = np.clip(np.round(ages).astype(int), 0, 120)
    density = gaussian_filter1d(np.bincount(years, minlength=121).astype(float), SMOOTHING)
    weights = 1 / np.sqrt(density[years])
    return (weights / weights.mean()).astype(np.float32)
