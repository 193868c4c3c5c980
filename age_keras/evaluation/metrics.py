"""How far predicted ages are from the truth: the field's metrics, for many models and many resamples at once.

Conventions, checked against the published tables (every figure to its last digit): accuracies and MAPE are percent,
an error of exactly 2 years lies within ±2, `Median_Error`, `Max_Error` and `Min_Error` are of absolute errors, `Bias`
is the mean of prediction - truth (positive: too old), R² is about the mean of the scored pages.
"""

from collections.abc import Sequence

import numpy as np

METRICS = (
    "MAE",
    "RMSE",
    "R2",
    "MAPE",
    "Acc_2yr",
    "Acc_5yr",
    "Acc_10yr",
    "Max_Error",
    "Min_Error",
    "Median_Error",
    "Bias",
)
HIGHER_IS_BETTER = frozenset({"R2", "Acc_2yr", "Acc_5yr", "Acc_10yr"})
# Metrics that are functions of sums over pages, and so of weighted sums: cheap under any weighting of the pages.
SUM_METRICS = ("MAE", "RMSE", "R2", "MAPE", "Acc_2yr", "Acc_5yr", "Acc_10yr", "Bias")


def score(truth: np.ndarray, prediction: np.ndarray) -> dict[str, np.ndarray]:
    """All metrics.

    Args:
        truth: true ages in years, (N,) or (..., N).
        prediction: predicted ages in years, (..., N).

    Returns:
        A dictionary from each name in `METRICS` to float64 (...), NaN where the metric is not defined: R² of a single
        page or of pages of one age, MAPE where every age is 0 (pages of age 0 are left out of MAPE).

    Example:
        >>> float(score(np.array([10.0, 20.0]), np.array([12.0, 17.0]))["MAE"])
        2.5
    """
    truth, prediction = np.broadcast_arrays(np.asarray(truth, np.float64), np.asarray(prediction, np.float64))
    if truth.shape[-1] == 0:
        raise ValueError(f"no pages to score. Received: truth.shape={truth.shape}")
    terms = _terms(truth, prediction, {term for needs in _NEEDS.values() for term in needs})
    error = terms["error"]
    scores = _from_means({name: term.mean(axis=-1) for name, term in terms.items()}, truth.shape[-1], SUM_METRICS)
    scores["Max_Error"] = error.max(axis=-1)
    scores["Min_Error"] = error.min(axis=-1)
    scores["Median_Error"] = np.median(error, axis=-1)
    return {name: scores[name] for name in METRICS}


def weighted_sum_scores(
    truth: np.ndarray,
    prediction: np.ndarray,
    groups: np.ndarray,
    weights: np.ndarray,
    names: Sequence[str] = SUM_METRICS,
) -> dict[str, np.ndarray]:
    """The metrics of `SUM_METRICS` when each group of pages (a writer) counts as often as its weight says.

    Args:
        truth: true ages in years, (N,).
        prediction: predicted ages in years, (M, N) for M models.
        groups: the group of each page, integers below G, (N,).
        weights: how often each group counts, (B, G) for B resamples.
        names: which metrics. Defaults to all of `SUM_METRICS`.

    Returns:
        A dictionary from metric to float64 (M, B), NaN where a resample has no page.
    """
    prediction = np.atleast_2d(np.asarray(prediction, np.float64))
    truth = np.asarray(truth, np.float64)
    n_groups = weights.shape[1]
    terms = _terms(truth, prediction, {term for name in names for term in _NEEDS[name]})
    # Pages are summed within groups once; then every figure of every resample is one matrix product.
    pages = np.bincount(groups, minlength=n_groups).astype(np.float64)
    rows = [pages, *(row for term in terms.values() for row in np.atleast_2d(term))]
    sums = np.stack([rows[0], *(np.bincount(groups, weights=row, minlength=n_groups) for row in rows[1:])])
    totals = sums @ weights.T
    with np.errstate(invalid="ignore", divide="ignore"):
        means = totals[1:] / totals[0]
    at, split = 0, {}
    for name, term in terms.items():
        size = len(np.atleast_2d(term))
        split[name] = means[at : at + size]
        at += size
    return _from_means(split, totals[0], names)


def weighted_median_error(
    truth: np.ndarray, prediction: np.ndarray, groups: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The median absolute error when each group of pages counts as often as its weight says.

    Args and shapes as for `weighted_sum_scores`; `weights` are whole numbers. Returns float64 (M, B). With an even
    number of pages it is the mean of the two in the middle, as `numpy.median` has it.
    """
    errors = np.abs(np.atleast_2d(prediction) - truth)
    by_group = np.ascontiguousarray(weights.T, dtype=np.int32)  # Sums then run along rows of memory.
    total = by_group[groups].sum(axis=0)
    medians = np.empty((len(errors), len(weights)))
    for row, error in enumerate(errors):
        order = np.argsort(error, kind="stable")
        ranked = error[order]
        below = np.cumsum(by_group[groups[order]], axis=0, dtype=np.int32)
        low = (below <= (total - 1) // 2).sum(axis=0)
        high = (below <= total // 2).sum(axis=0)
        medians[row] = (ranked[low] + ranked[high]) / 2
    return medians


def slope(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Years predicted more for a page one year older, (...): least squares of prediction on truth.

    1 is right, 0 is a constant, NaN where all pages are of one age.
    """
    truth, prediction = np.broadcast_arrays(np.asarray(truth, np.float64), np.asarray(prediction, np.float64))
    t = truth - truth.mean(axis=-1, keepdims=True)
    p = prediction - prediction.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (t * p).sum(axis=-1) / (t * t).sum(axis=-1)


def by_fold(truth: np.ndarray, prediction: np.ndarray, folds: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of each fold.

    Args:
        truth: (N,). prediction: (M, N). folds: the fold of each page, (N,).

    Returns:
        A dictionary from metric to float64 (M, F), folds in ascending order.
    """
    parts = [score(truth[folds == fold], prediction[..., folds == fold]) for fold in np.unique(folds)]
    return {name: np.stack([part[name] for part in parts], axis=-1) for name in METRICS}


def per_writer(prediction: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Averages the pages of each writer: (..., N) becomes (..., G) for groups numbered 0..G-1."""
    prediction = np.asarray(prediction, np.float64)
    size = np.bincount(groups)
    rows = prediction.reshape(-1, prediction.shape[-1])
    means = np.stack([np.bincount(groups, weights=row) / size for row in rows])
    return means.reshape(*prediction.shape[:-1], len(size))


def _terms(truth: np.ndarray, prediction: np.ndarray, names: set[str]) -> dict[str, np.ndarray]:
    """What is summed over pages: (..., N) where it depends on the prediction, else as `truth`."""
    difference = prediction - truth
    error = np.abs(difference)
    # Ages about their mean: a sum of squares of raw ages would lose digits in R².
    centred = truth - truth.mean(axis=-1, keepdims=True)
    aged = truth > 0
    compute = {
        "error": lambda: error,
        "square": lambda: difference * difference,
        "age": lambda: centred,
        "age_square": lambda: centred * centred,
        "relative": lambda: np.divide(error, truth, out=np.zeros_like(error), where=aged),
        "aged": lambda: aged.astype(np.float64),
        "within_2": lambda: (error <= 2).astype(np.float64),
        "within_5": lambda: (error <= 5).astype(np.float64),
        "within_10": lambda: (error <= 10).astype(np.float64),
        "difference": lambda: difference,
    }
    return {name: term() for name, term in compute.items() if name in names}


def _from_means(mean: dict[str, np.ndarray], pages: np.ndarray | int, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: _FORMULAS[name](mean, np.asarray(pages)) for name in names}


def _r2(mean: dict[str, np.ndarray], pages: np.ndarray) -> np.ndarray:
    variance = mean["age_square"] - mean["age"] ** 2
    with np.errstate(invalid="ignore"):
        defined = (variance > 1e-12) & (pages > 1)
    return np.where(defined, 1 - mean["square"] / np.where(defined, variance, 1), np.nan)


def _mape(mean: dict[str, np.ndarray], pages: np.ndarray) -> np.ndarray:
    aged = mean["aged"] > 0
    return 100 * np.where(aged, mean["relative"] / np.where(aged, mean["aged"], 1), np.nan)


_NEEDS = {
    "MAE": ("error",),
    "RMSE": ("square",),
    "R2": ("square", "age", "age_square"),
    "MAPE": ("relative", "aged"),
    "Acc_2yr": ("within_2",),
    "Acc_5yr": ("within_5",),
    "Acc_10yr": ("within_10",),
    "Bias": ("difference",),
}
_FORMULAS = {
    "MAE": lambda mean, pages: mean["error"],
    "RMSE": lambda mean, pages: np.sqrt(mean["square"]),
    "R2": _r2,
    "MAPE": _mape,
    "Acc_2yr": lambda mean, pages: 100 * mean["within_2"],
    "Acc_5yr": lambda mean, pages: 100 * mean["within_5"],
    "Acc_10yr": lambda mean, pages: 100 * mean["within_10"],
    "Bias": lambda mean, pages: mean["difference"],
}
