"""Several models' predictions as one: the published weightings, and combinations that are learnt on validation alone.

Every method learns from the validation pages' predictions (M, N), true ages (N,) and writers (N,), and is then a
function of any predictions (M, K). Nothing here knows the pages that are scored.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack, vstack

from age_keras.errors import InputError
from age_keras.folds import deal

MOST_GRID_POINTS = 5_000_000
NEIGHBOURS = (15, 30, 60, 90, 120)  # candidates for the conditional median
INNER_FOLDS = 5


@dataclass(frozen=True)
class Ensemble:
    """A learnt combination.

    Attributes:
        method: its name.
        combine: predictions (M, K) in years to (K,).
        weights: one a member, summing to 1, where the combination is a weighted mean; else None.
    """

    method: str
    combine: Callable[[np.ndarray], np.ndarray]
    weights: np.ndarray | None = None


def weighted(method: str, weights: np.ndarray) -> Ensemble:
    """A weighted mean as an ensemble."""
    weights = np.asarray(weights, np.float64)
    return Ensemble(method, lambda predictions: weights @ predictions, weights)


def grid_search(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray, step: float = 0.1) -> Ensemble:
    """The published weighting: all weights of a grid that sum to 1, every member at least one step, least MAE wins.

    Args:
        predictions, truth, writers: of the validation pages.
        step: of the grid; one over a whole number. Defaults to the published 0.1.

    Raises:
        InputError: more members than steps, or a grid of more than five million points.
    """
    parts, members = round(1 / step), len(predictions)
    if members > parts:
        raise InputError(
            f"A grid of step {step} has no weights for {members} members: give --step {1 / members:.3g} or less."
        )
    points = _compositions(parts, members)
    best, best_error = points[0], np.inf
    block = max(1, 20_000_000 // len(truth))
    for start in range(0, len(points), block):
        errors = np.abs(points[start : start + block] / parts @ predictions - truth).mean(axis=1)
        if errors.min() < best_error - 1e-12:
            best, best_error = points[start + errors.argmin()], errors.min()
    return weighted("grid_search", best / parts)


def mae_based(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """The published "MAE-based" weights, (sum m - m_i) / ((n - 1) sum m) for validation MAEs m."""
    errors = np.abs(predictions - truth).mean(axis=1)
    return weighted("mae_based", (errors.sum() - errors) / ((len(errors) - 1) * errors.sum()))


def mean(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """The plain mean."""
    return weighted("mean", np.full(len(predictions), 1 / len(predictions)))


def median(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """The members' median, page by page."""
    return Ensemble("median", lambda p: np.median(p, axis=0))


def trimmed_mean(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """The mean without the highest and the lowest member of each page; the median of three members or fewer."""
    if len(predictions) < 4:
        return Ensemble("trimmed_mean", lambda p: np.median(p, axis=0))
    return Ensemble("trimmed_mean", lambda p: np.sort(p, axis=0)[1:-1].mean(axis=0))


def best_single(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """The member with the least validation MAE."""
    errors = np.abs(predictions - truth).mean(axis=1)
    return weighted("best_single", np.eye(len(predictions))[errors.argmin()])


def least_absolute_deviation(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """The weights, none negative, summing to 1, with exactly the least validation MAE, by linear programming."""
    members, pages = predictions.shape
    # Each page's error is a positive part minus a negative one; their sum is what is made small.
    errors = hstack([csr_array(predictions.T), eye_array(pages), -eye_array(pages)])
    sum_to_one = csr_array(np.r_[np.ones(members), np.zeros(2 * pages)][None])
    cost = np.r_[np.zeros(members), np.ones(2 * pages)]
    solution = linprog(cost, A_eq=vstack([errors, sum_to_one]), b_eq=np.r_[truth, 1.0], method="highs")
    weights = np.clip(solution.x[:members], 0, None)
    return weighted("lad", weights / weights.sum())


def greedy(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray, rounds: int = 50) -> Ensemble:
    """Greedy selection with replacement from the best single model (Caruana et al. 2004, ICML)."""
    counts = np.zeros(len(predictions))
    total, best, best_error = np.zeros_like(truth), counts, np.inf
    for size in range(1, rounds + 1):
        errors = np.abs((total + predictions) / size - truth).mean(axis=1)
        counts = counts.copy()
        counts[errors.argmin()] += 1
        total = total + predictions[errors.argmin()]
        if errors.min() < best_error - 1e-12:
            best, best_error = counts, errors.min()
    return weighted("greedy", best / best.sum())


def stacking(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """A line through the members' mean, with a kink at its quartiles, fitted by least absolute deviation.

    Members that shrink towards the mean age, as all published ones do, are stretched again; the kinks let the old be
    stretched further than the young. How many kinks is chosen by writer-grouped inner cross-validation.
    """
    centre = predictions.mean(axis=0)
    knots = np.quantile(centre, [0.25, 0.5, 0.75])

    def fit(number: int, p: np.ndarray, t: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        chosen = knots[[[], [1], [0, 1, 2]][number]]
        slopes = _reweighted(_hinges(p.mean(axis=0), chosen), t)
        return lambda q: _hinges(q.mean(axis=0), chosen) @ slopes

    number = _choose(range(3), fit, predictions, truth, writers)
    return Ensemble("stacking", fit(number, predictions, truth))


def conditional_median(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """The median age of the validation pages whose mean prediction is nearest: what minimises MAE given that mean.

    Nearest-neighbour estimate of a conditional median (Stone 1977, Annals of Statistics 5); how many neighbours is
    chosen by writer-grouped inner cross-validation.
    """

    def fit(neighbours: int, p: np.ndarray, t: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        order = np.argsort(p.mean(axis=0), kind="stable")
        centres, ages = p.mean(axis=0)[order], t[order]
        return partial(_nearest_median, centres=centres, ages=ages, neighbours=min(neighbours, len(t)))

    neighbours = _choose(NEIGHBOURS, fit, predictions, truth, writers)
    return Ensemble("conditional_median", fit(neighbours, predictions, truth))


METHODS = {
    "best_single": best_single,
    "mean": mean,
    "median": median,
    "trimmed_mean": trimmed_mean,
    "mae_based": mae_based,
    "lad": least_absolute_deviation,
    "greedy": greedy,
    "stacking": stacking,
    "conditional_median": conditional_median,
}


def chosen(predictions: np.ndarray, truth: np.ndarray, writers: np.ndarray) -> Ensemble:
    """The method with the least error in writer-grouped inner cross-validation of the validation pages."""

    def fit(name: str, p: np.ndarray, t: np.ndarray, w: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        return METHODS[name](p, t, w).combine

    name = _choose(METHODS, fit, predictions, truth, writers, with_writers=True)
    return METHODS[name](predictions, truth, writers)


def inner_folds(writers: np.ndarray) -> np.ndarray:
    """Up to five folds from 0, disjoint by writer and balanced in pages; int64 (N,)."""
    folds = min(INNER_FOLDS, len(np.unique(writers)))
    return deal(writers, [1 / folds] * folds)


def _choose(candidates, fit, predictions, truth, writers, with_writers: bool = False):
    """The candidate with the least mean absolute error on writers it was not fitted to; ties go to the first."""
    folds = inner_folds(writers)
    if folds.max() < 1:
        return next(iter(candidates))
    errors = []
    for candidate in candidates:
        error = 0.0
        for fold in range(folds.max() + 1):
            a, b = folds != fold, folds == fold
            rest = (writers[a],) if with_writers else ()
            error += np.abs(fit(candidate, predictions[:, a], truth[a], *rest)(predictions[:, b]) - truth[b]).sum()
        errors.append(error)
    return list(candidates)[int(np.argmin(errors))]


def _compositions(total: int, parts: int) -> np.ndarray:
    """All ways to write `total` as an ordered sum of `parts` whole numbers from 1; int (points, parts)."""
    count = 1
    for i in range(parts - 1):
        count = count * (total - 1 - i) // (i + 1)
    if count > MOST_GRID_POINTS:
        raise InputError(f"This grid has {count:,} points: give a larger --step, or use the exact method `lad`.")
    bars = np.array(list(itertools.combinations(range(1, total), parts - 1)), np.int64).reshape(count, parts - 1)
    edges = np.hstack([np.zeros((count, 1), np.int64), bars, np.full((count, 1), total)])
    return np.diff(edges, axis=1)


def _reweighted(columns: np.ndarray, truth: np.ndarray, rounds: int = 40) -> np.ndarray:
    """Least absolute deviation by iteratively reweighted least squares: a few free slopes, in a millisecond."""
    slopes = np.linalg.lstsq(columns, truth, rcond=None)[0]
    for _ in range(rounds):
        root = 1 / np.sqrt(np.maximum(np.abs(columns @ slopes - truth), 1e-3))
        slopes = np.linalg.lstsq(columns * root[:, None], truth * root, rcond=None)[0]
    return slopes


def _hinges(x: np.ndarray, knots: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(x), x, *(np.clip(x - knot, 0, None) for knot in knots)])


def _nearest_median(predictions: np.ndarray, centres: np.ndarray, ages: np.ndarray, neighbours: int) -> np.ndarray:
    """Median age of the `neighbours` nearest of the sorted `centres`, for the mean of each column."""
    x = predictions.mean(axis=0)
    nearest = np.argsort(np.abs(centres[None] - x[:, None]), axis=1, kind="stable")[:, :neighbours]
    return np.median(ages[nearest], axis=1)
