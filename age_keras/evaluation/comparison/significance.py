"""Is A better than B, or could it be chance? Paired tests of all pairs of models by a studentised bootstrap.

Both models answer for the same pages, so a resample draws pages, or writers with all of their pages, and takes both
models' errors along: what makes a page hard for both cancels. Pages of one writer have errors alike; a test that draws
them one by one believes to have more evidence than there is, so writers are drawn unless told otherwise.

The figure tested is a mean difference, d = sum_g (a_g - b_g) / sum_g n_g over drawn units g with n_g pages. In each
resample it is divided by its own standard error, t* = (d* - d) / se*, and t = d / se is held against these: bootstrap-t
(Davison and Hinkley 1997, "Bootstrap Methods and their Application", sections 4.4 and 5.2), two-sided and symmetric.
Without the division too many differences are found where writers are few. The interval, d ± the 95 % quantile of |t*|
times se, is the same test turned around: it leaves zero out exactly where p < 0.05.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from age_keras.errors import InputError
from age_keras.evaluation import metrics
from age_keras.evaluation.bootstrap import writer_weights

Unit = Literal["writer", "page"]
RESAMPLES = 10_000
LEVEL = 0.05
_BLOCK = 1_000  # resamples held at once


@dataclass(frozen=True)
class Pair:
    """Two models compared.

    Attributes:
        a, b: numbers of the models.
        difference: metric of a minus metric of b, in the metric's unit (years for MAE and RMSE).
        interval: 95 % confidence interval of this one difference; NaN with fewer than two units.
        p: two-sided. p_holm: corrected for all pairs of the family (Holm 1979).
        differ: whether `p_holm` is below 0.05.
    """

    a: int
    b: int
    difference: float
    interval: tuple[float, float]
    p: float
    p_holm: float

    @property
    def differ(self) -> bool:
        return self.p_holm < LEVEL


def compare(
    truth: np.ndarray,
    predictions: np.ndarray,
    writers: np.ndarray,
    *,
    metric: str = "MAE",
    by: Unit = "writer",
    reference: int | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Pair]:
    """Tests every pair of models, or every model against one.

    Args:
        truth: true ages in years, (N,).
        predictions: in years, (M, N).
        writers: integers from 0, (N,).
        metric: one of `metrics.SUM_METRICS`. Equal RMSE, equal R² and equal mean squared error are the same thing, so
            these share their p-value; their interval is that of the mean squared error on the metric's scale.
        by: what is drawn. Defaults to writers.
        reference: the number of the model that the others are compared with. Defaults to all pairs.
        resamples, seed: of the bootstrap.

    Returns:
        The pairs, a before b (`b` is the reference where there is one).

    Raises:
        InputError: fewer than two models, or an unknown metric.
    """
    if len(predictions) < 2:
        raise InputError("A comparison needs two models or more.")
    if metric not in metrics.SUM_METRICS:
        raise InputError(f"Differences are tested for {', '.join(metrics.SUM_METRICS)}, not for {metric!r}.")
    numbers = range(len(predictions))
    pairs = list(combinations(numbers, 2)) if reference is None else [(m, reference) for m in numbers if m != reference]
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    terms, counted = _terms(metric, truth, predictions)
    units = writers if by == "writer" else np.arange(len(truth))
    n_units = int(units.max()) + 1
    pages = np.bincount(units, weights=counted, minlength=n_units)
    sums = np.stack([np.bincount(units, weights=row, minlength=n_units) for row in terms])
    paired = sums[first] - sums[second]
    if pages.sum() == 0:
        raise InputError(f"{metric} is not defined for these pages.")
    d = paired.sum(axis=1) / pages.sum()
    error = _standard_error((paired**2).sum(axis=1), paired @ pages, (pages**2).sum(), d, pages.sum())
    scores = metrics.score(truth, predictions)[metric]
    difference = scores[first] - scores[second]
    scale = np.divide(difference, d, out=np.ones_like(d), where=d != 0)
    if n_units < 2:
        p, reach = np.full(len(pairs), np.nan), np.full(len(pairs), np.nan)
    else:
        t = np.divide(np.abs(d), error, out=np.where(d == 0, 0.0, np.inf), where=error > 0)
        p, factor = _bootstrap(sums, pages, paired, first, second, d, t, resamples, seed)
        reach = factor * error * np.abs(scale)
    corrected = holm(p)
    rows = zip(first, second, difference, reach, p, corrected, strict=True)
    return [
        Pair(int(a), int(b), float(v), (float(v - r), float(v + r)), float(q), float(h)) for a, b, v, r, q, h in rows
    ]


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction (1979, Scandinavian Journal of Statistics 6): p-values of a family, none smaller than before.

    Example:
        >>> holm(np.array([0.01, 0.04])).tolist()
        [0.02, 0.04]
    """
    p = np.asarray(p, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    result = np.empty_like(p)
    result[order] = np.minimum(stepped, 1)
    return result


def _terms(metric: str, truth: np.ndarray, predictions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is averaged over pages for each model, (M, N), and which pages count, (N,)."""
    everyone = np.ones(len(truth))
    difference = predictions - truth
    if metric in ("RMSE", "R2"):
        return difference**2, everyone
    if metric == "Bias":
        return difference, everyone
    error = np.abs(difference)
    if metric == "MAPE":
        aged = truth > 0
        return 100 * np.divide(error, truth, out=np.zeros_like(error), where=aged), aged.astype(np.float64)
    if metric == "MAE":
        return error, everyone
    years = float(metric.removeprefix("Acc_").removesuffix("yr"))
    return 100.0 * (error <= years), everyone


def _standard_error(squares, products, page_squares, d, pages):
    """Of a ratio of sums over units: root of sum (D_g - d n_g)², over the pages."""
    return np.sqrt(np.maximum(squares - 2 * d * products + d**2 * page_squares, 0)) / pages


def _bootstrap(sums, pages, paired, first, second, d, t, resamples, seed) -> tuple[np.ndarray, np.ndarray]:
    """The p-value of each pair and the 95 % quantile of |t*|. Everything in a resample is one matrix product."""
    m = len(sums)
    columns = np.vstack([sums, sums * pages, paired**2, pages, pages**2]).T
    weights = np.random.default_rng(seed)
    draws = np.empty((len(d), resamples))
    for start in range(0, resamples, _BLOCK):
        size = min(_BLOCK, resamples - start)
        totals = (writer_weights(len(pages), size, weights) @ columns).T
        n = totals[-2]
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = (totals[first] - totals[second]) / n
            products = totals[m + first] - totals[m + second]
            error = _standard_error(totals[2 * m : -2], products, totals[-1], drawn, n)
            away = np.abs(drawn - d[:, None])
            draws[:, start : start + size] = np.where(away > 1e-12, away / error, 0)
    draws = np.nan_to_num(draws, nan=np.inf, posinf=np.inf)
    p = (1 + (draws >= t[:, None] * (1 - 1e-9)).sum(axis=1)) / (resamples + 1)
    place = min(int(np.ceil((1 - LEVEL) * (resamples + 1))), resamples) - 1
    return p, np.partition(draws, place, axis=1)[:, place]
