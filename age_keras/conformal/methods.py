"""Prediction intervals that hold a new writer's age as often as they say, whatever the model: conformal prediction.

Each method turns the errors on pages that the model has not learnt from (the calibration pages) into bounds for new
pages. All count by writer, see `hierarchical_quantile`. What is promised is marginal: over all writers, not for each
age. An interval around a model that answers "about 20" for everybody misses nearly all old writers, however well it
covers on average; the coverage table by true band shows it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from age_keras.conformal.quantile import hierarchical_quantile, writers_needed

YOUNGEST, OLDEST = 0.0, 120.0  # Bounds are clipped to these years: no age is lost by it.
_BLOCK = 2_000_000  # numbers held at once


@dataclass(frozen=True)
class Pages:
    """Pages with predictions. Arrays are (N,).

    Attributes:
        prediction: years.
        writers: anything that can be sorted; not needed of new pages.
        truth: true ages in years; not needed of new pages.
        lower, upper: a quantile head's, years; None for other models.
        folds: whose model predicted the page.
        groups: the group of each page that `mondrian` bounds by itself, integers from 0: neighbours are alike, and the
            group does not depend on the true age (such as the band of the predicted age).
    """

    prediction: np.ndarray
    writers: np.ndarray | None = None
    truth: np.ndarray | None = None
    lower: np.ndarray | None = None
    upper: np.ndarray | None = None
    folds: np.ndarray | None = None
    groups: np.ndarray | None = None

    def rows(self, keep: np.ndarray) -> "Pages":
        """Some of the pages."""
        return Pages(**{name: None if v is None else v[keep] for name, v in vars(self).items()})


Bounds = tuple[np.ndarray, np.ndarray]


def split(calibration: Pages, new: Pages, coverage: float) -> Bounds:
    """Split conformal: prediction ± the quantile of absolute errors (Lei et al. 2018, JASA 113).

    Args:
        calibration: pages that the model has not learnt from, with true ages.
        new: the pages to bound.
        coverage: in (0, 1).

    Returns:
        Lower and upper bounds in years, (N,), within [0, 120]. With too few writers for the coverage (under 9 for
        0.9) the bounds are 0 and 120: nothing narrower can be promised.
    """
    reach = hierarchical_quantile(np.abs(calibration.truth - calibration.prediction), calibration.writers, coverage)
    return clipped(new.prediction - reach, new.prediction + reach)


def mondrian(calibration: Pages, new: Pages, coverage: float) -> Bounds:
    """Mondrian conformal: `split` within each of the pages' `groups` (Vovk et al. 2005, section 4.5).

    Bands of true age would be what one wants to cover in, but a new page's true age is what is not known; its
    predicted age is, so the promise holds for each band of predictions. A group that too few calibration writers are
    in joins the one below it. That looks at predictions alone, never at errors, but it does look at the calibration
    pages, so there the promise is approximate.

    Args and returns as for `split`; both pages need `groups`.
    """
    merged = merged_groups(calibration, 1 + int(max(calibration.groups.max(), new.groups.max())), coverage)
    old, fresh = merged[calibration.groups], merged[new.groups]
    lower, upper = np.empty(len(new.prediction)), np.empty(len(new.prediction))
    for group in np.unique(fresh):
        rows = fresh == group
        lower[rows], upper[rows] = split(calibration.rows(old == group), new.rows(rows), coverage)
    return lower, upper


def merged_groups(calibration: Pages, count: int, coverage: float) -> np.ndarray:
    """Which group each of `count` groups becomes, int64 (count,), so that each has twice the writers it needs."""
    need = 2 * writers_needed(coverage)
    merged = np.arange(count)

    def writers_in(group: int) -> int:
        return len(np.unique(calibration.writers[merged[calibration.groups] == group]))

    for group in range(count - 1, 0, -1):
        if writers_in(group) < need:
            merged[merged == group] = group - 1
    if writers_in(0) < need and (others := merged[merged > 0]).size:  # The lowest has no neighbour below.
        merged[merged == others.min()] = 0
    return merged


def quantile(calibration: Pages, new: Pages, coverage: float) -> Bounds:
    """Conformalised quantile regression: a quantile head's bounds, moved until they cover (Romano et al. 2019).

    Bounds that would part from the prediction reach back to it, which can only cover more. Args and returns as for
    `split`; both need `lower` and `upper`. (Advances in Neural Information Processing Systems 32.)
    """
    outside = np.maximum(calibration.lower - calibration.truth, calibration.truth - calibration.upper)
    reach = hierarchical_quantile(outside, calibration.writers, coverage)
    return clipped(np.minimum(new.lower - reach, new.prediction), np.maximum(new.upper + reach, new.prediction))


def cross(pages: Pages, coverage: float, method: Callable[[Pages, Pages, float], Bounds] = split) -> Bounds:
    """Bounds from out-of-fold errors: each fold's pages by the errors of the other folds' models.

    All pages calibrate, none is set aside. It takes the folds' models to err alike, and the errors in other folds are
    made by models that have learnt from the pages to bound, so coverage is not promised exactly; it is close to nominal
    where models are stable (cross-conformal prediction, Vovk 2015, Annals of Mathematics and Artificial Intelligence
    74).

    Args:
        pages: out-of-fold predictions with folds and true ages.
        coverage: in (0, 1).
        method: what each fold is bounded by. Defaults to `split`.
    """
    lower, upper = np.empty(len(pages.prediction)), np.empty(len(pages.prediction))
    for fold in np.unique(pages.folds):
        rows = pages.folds == fold
        lower[rows], upper[rows] = method(pages.rows(~rows), pages.rows(rows), coverage)
    return lower, upper


def cross_plus(calibration: Pages, new: np.ndarray, folds: np.ndarray, coverage: float) -> Bounds:
    """CV+ (Barber et al. 2021, Annals of Statistics 49), by writer: bounds for pages that every fold's model predicted.

    Each calibration page votes with the new page's prediction by the very model that made its own error: the lower
    bound is a quantile of prediction - error, the upper of prediction + error. Its promise is 1 - 2 (1 - coverage);
    in practice it covers as it says. With as many folds as writers it is the hierarchical jackknife+ of Lee et al.

    Args:
        calibration: out-of-fold predictions with folds.
        new: predictions of the new pages by each fold's model, (F, T).
        folds: of the rows of `new`, ascending, (F,).
        coverage: in (0, 1).
    """
    errors = np.abs(calibration.truth - calibration.prediction)
    model = np.searchsorted(folds, calibration.folds)
    lower, upper = np.empty(new.shape[1]), np.empty(new.shape[1])
    step = max(1, _BLOCK // len(errors))
    for start in range(0, new.shape[1], step):
        votes = new[:, start : start + step][model].T
        part = slice(start, start + step)
        lower[part] = -hierarchical_quantile(errors - votes, calibration.writers, coverage)
        upper[part] = hierarchical_quantile(errors + votes, calibration.writers, coverage)
    return clipped(lower, upper)


def clipped(lower: np.ndarray, upper: np.ndarray) -> Bounds:
    """Within [0, 120] years."""
    return np.clip(lower, YOUNGEST, OLDEST), np.clip(upper, YOUNGEST, OLDEST)
