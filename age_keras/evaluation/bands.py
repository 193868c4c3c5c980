"""Errors by age band: where a model that answers "about 20" for everybody shows what it is."""

from collections.abc import Sequence

import numpy as np

from age_keras.bands import band_index, band_names
from age_keras.evaluation import metrics
from age_keras.evaluation.bootstrap import percentile_interval


def band_scores(
    truth: np.ndarray,
    predictions: np.ndarray,
    writers: np.ndarray,
    weights: np.ndarray,
    edges: Sequence[float],
) -> dict[str, dict[str, np.ndarray]]:
    """The metrics in each age band that has pages, and their mean over the bands.

    An age counts in completed years: 15.9 lies in the band up to 15.

    Args:
        truth: (N,). predictions: (M, N). writers: integers from 0, (N,).
        weights: from `writer_weights`, (B, writers).
        edges: Edges of the age bands, see `band_index`.

    Returns:
        Band (such as `≤15`, `16–25`, `26–50`, `>50`; and `macro`: each band counts the same, however many pages it has)
        to a dictionary: every metric (M,), `MAE_interval` and `Bias_interval` (M, 2), `n` pages and `writers`. A macro
        average is NaN where a band does not define the metric.
    """
    bands = band_index(truth, edges)
    result, resampled = {}, []
    for number, name in enumerate(band_names(edges)):
        rows = bands == number
        if not rows.any():
            continue
        draws = metrics.weighted_sum_scores(truth[rows], predictions[:, rows], writers[rows], weights, ("MAE", "Bias"))
        n_writers = len(np.unique(writers[rows]))
        resampled.append(draws["MAE"])
        result[name] = {
            **metrics.score(truth[rows], predictions[:, rows]),
            "MAE_interval": percentile_interval(draws["MAE"], writers=n_writers),
            "Bias_interval": percentile_interval(draws["Bias"], writers=n_writers),
            "n": int(rows.sum()),
            "writers": n_writers,
        }
    parts = list(result.values())
    # A resample without a writer of some band has no macro average and is left out.
    macro = percentile_interval(np.mean(resampled, axis=0))
    result["macro"] = {
        **{name: np.mean([part[name] for part in parts], axis=0) for name in metrics.METRICS},
        "MAE_interval": macro,
        "n": len(truth),
        "writers": len(np.unique(writers)),
    }
    return result
