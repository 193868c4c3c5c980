"""The bootstrap over writers: how much would a figure move with other writers?

Pages of one writer are alike, so writers are drawn, not pages (a cluster bootstrap; Davison and Hinkley 1997,
section 3.8): a resample draws as many writers as there are, with replacement, and each brings all of its pages.
"""

import numpy as np

from age_keras.evaluation import metrics

RESAMPLES = 2000
_BLOCK = 4_000_000  # Numbers held at once while medians are taken: 32 MB.


def writer_weights(n_writers: int, resamples: int = RESAMPLES, seed: int | np.random.Generator = 0) -> np.ndarray:
    """How often each writer is drawn in each resample, float64 (resamples, n_writers); every row sums to n_writers."""
    drawn = np.random.default_rng(seed).integers(0, n_writers, (resamples, n_writers))
    drawn += np.arange(resamples)[:, None] * n_writers
    counts = np.bincount(drawn.ravel(), minlength=resamples * n_writers)
    return counts.reshape(resamples, n_writers).astype(np.float64)


def bootstrap_scores(
    truth: np.ndarray, predictions: np.ndarray, writers: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """The metrics of `SUM_METRICS`, and the median error, in every resample.

    There is no maximum and no minimum: the bootstrap does not work for them.

    Args:
        truth: true ages, (N,). predictions: (M, N). writers: integers from 0, (N,).
        weights: from `writer_weights`, (B, writers).

    Returns:
        A dictionary from metric to float64 (M, B).
    """
    scores = metrics.weighted_sum_scores(truth, predictions, writers, weights)
    step = max(1, _BLOCK // len(truth))
    medians = [
        metrics.weighted_median_error(truth, predictions, writers, weights[i : i + step])
        for i in range(0, max(1, len(weights)), step)
    ]
    return {**scores, "Median_Error": np.concatenate(medians, axis=1)}


def percentile_interval(samples: np.ndarray, level: float = 0.95, writers: int | None = None) -> np.ndarray:
    """The percentile interval of resampled figures: (..., B) becomes (..., 2).

    NaN where no resample defines the figure, and where there are fewer than two `writers` to draw from.
    """
    if samples.shape[-1] == 0 or (writers is not None and writers < 2):
        return np.full((*np.shape(samples)[:-1], 2), np.nan)
    tail = 100 * (1 - level) / 2
    samples = np.asarray(samples, np.float64)
    defined = np.isfinite(samples)
    if defined.all():
        return np.moveaxis(np.percentile(samples, [tail, 100 - tail], axis=-1), 0, -1)
    rows, kept = samples.reshape(-1, samples.shape[-1]), defined.reshape(-1, samples.shape[-1])
    bounds = [
        np.percentile(r[k], [tail, 100 - tail]) if k.any() else (np.nan, np.nan)
        for r, k in zip(rows, kept, strict=True)
    ]
    return np.asarray(bounds).reshape(*samples.shape[:-1], 2)
