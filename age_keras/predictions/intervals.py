"""Intervals for tables of predictions: which pages calibrate which, and by which method."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from age_keras.bands import band_index
from age_keras.conformal import methods as conformal
from age_keras.conformal.methods import Bounds, Pages
from age_keras.errors import InputError
from age_keras.predictions.table import BOUNDS

COVERAGE = 0.9
Method = Literal["split", "mondrian", "cqr", "cross"]
METHODS = {"split": conformal.split, "mondrian": conformal.mondrian, "cqr": conformal.quantile}
QUANTILES = BOUNDS[2:]


def add_intervals(
    frame: pd.DataFrame,
    coverage: float = COVERAGE,
    method: Method | None = None,
    edges: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Adds `Lower` and `Upper` to the scored rows of a run's predictions.

    Each model's pages are calibrated by the rows of the split `val` of the same model and fold. Where a model has none,
    its out-of-fold pages are calibrated by the other folds. Rows of `val` and `train` have no bounds: their own errors
    would calibrate them.

    Args:
        frame: A long table. What a quantile head said stands in `LowerQuantile` and `UpperQuantile`, or else in
            `Lower` and `Upper`, from where it is moved.
        coverage: Fraction of writers whose age is to lie within the bounds. Defaults to 0.9.
        method: How bounds are made. Defaults to `cqr` for a quantile head, else `split`. `cross` uses the other folds,
            whatever `val` has.
        edges: Edges of the age bands, see `band_index`; `mondrian` bounds each band of predicted age by itself and
            needs them, the other methods do not look at them.

    Returns:
        A new table; NaN where there is nothing to calibrate with.

    Raises:
        InputError: `cqr` without a quantile head, or `cross` without folds.
    """
    check_coverage(coverage)
    frame = _with_quantiles(frame)
    lower, upper = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    split, folds = frame.Split.to_numpy(), frame.Fold.to_numpy()
    models = pd.factorize(frame.Model)[0]
    scored = ~np.isin(split, ("val", "train"))
    for model in np.unique(models[scored]):
        held_out = (models == model) & (split == "val")
        mine = (models == model) & scored
        others = np.zeros(len(frame), bool)
        for fold in np.unique(folds[mine]):
            rows, calibration = mine & (folds == fold), held_out & (folds == fold)
            if method == "cross" or not calibration.any():
                others |= rows
            else:
                bounds = bound(frame[calibration], frame[rows], coverage, method, edges)
                lower[rows], upper[rows] = bounds
        if others.any() and len(np.unique(folds[mine])) > 1:
            bounds = bound_out_of_fold(frame[mine], coverage, method, edges)
            within = others[mine]
            lower[others], upper[others] = bounds[0][within], bounds[1][within]
        elif others.any() and method == "cross":
            raise InputError("The method `cross` needs out-of-fold predictions: a column Fold with two folds or more.")
    return frame.assign(Lower=lower, Upper=upper)


def can_calibrate(frame: pd.DataFrame) -> bool:
    """Whether every model of a run's predictions has rows of the split `val` to calibrate its scored rows with."""
    scored = set(frame.Model[~frame.Split.isin(["val", "train"])])
    return bool(scored) and scored <= set(frame.Model[frame.Split == "val"])


def bound(
    calibration: pd.DataFrame,
    new: pd.DataFrame,
    coverage: float,
    method: Method | None = None,
    edges: Sequence[float] | None = None,
) -> Bounds:
    """Bounds in years, (N,) each, for the rows of `new`, one model's; see `add_intervals`."""
    old, fresh = pages_of(calibration, edges), pages_of(new, edges)
    return _method(method, old, fresh)(old, fresh, coverage)


def bound_out_of_fold(
    frame: pd.DataFrame, coverage: float, method: Method | None = None, edges: Sequence[float] | None = None
) -> Bounds:
    """Bounds in years for one model's out-of-fold rows, each fold's by the other folds' errors."""
    pages = pages_of(frame, edges)
    if len(np.unique(pages.folds)) < 2:
        raise InputError(
            "One table was given, without folds: give validation and test predictions, a run with rows of the split "
            "`val`, or out-of-fold predictions with a column Fold."
        )
    return conformal.cross(pages, coverage, _method(None if method == "cross" else method, pages, pages))


def check_coverage(coverage: float) -> None:
    """Raises InputError where a coverage is no fraction."""
    if not 0 < coverage < 1:
        raise InputError(f"`coverage` must lie between 0 and 1. Received: coverage={coverage}.")


def _with_quantiles(frame: pd.DataFrame) -> pd.DataFrame:
    """Moves what a quantile head said out of the way; bounds that were calibrated before are dropped."""
    if not {"Lower", "Upper"} <= set(frame):
        return frame.copy()
    held_out = frame[frame.Split == "val"] if "Split" in frame else frame
    calibrated = len(held_out) > 0 and held_out.Lower.isna().all()  # Only a head's bounds are on rows of val.
    if calibrated or set(QUANTILES) <= set(frame):
        return frame.drop(columns=["Lower", "Upper"])
    return frame.rename(columns=dict(zip(BOUNDS[:2], QUANTILES, strict=True)))


def pages_of(frame: pd.DataFrame, edges: Sequence[float] | None = None) -> Pages:
    """One model's rows as arrays; with `edges` in groups by the band of the predicted age."""
    frame = _with_quantiles(frame)
    low, high = (frame[name].to_numpy(np.float64) if name in frame else None for name in QUANTILES)
    if low is not None and not (np.isfinite(low).all() and np.isfinite(high).all()):
        low = high = None
    return Pages(
        prediction=frame.Prediction.to_numpy(np.float64),
        writers=frame.Writer.to_numpy(str),
        truth=frame.TrueAge.to_numpy(np.float64),
        lower=low,
        upper=high,
        folds=frame.Fold.to_numpy() if "Fold" in frame else None,
        groups=None if edges is None else band_index(frame.Prediction.to_numpy(np.float64), edges),
    )


def _method(method: Method | None, calibration: Pages, new: Pages):
    quantiles = calibration.lower is not None and new.lower is not None
    if method == "cqr" and not quantiles:
        raise InputError(
            "The method `cqr` needs the bounds of a quantile head, Lower and Upper, for the calibration pages and for "
            "the scored ones: train with --model.head quantile, or use --method split."
        )
    if method == "mondrian" and calibration.groups is None:
        raise InputError("The method `mondrian` needs age bands: give their edges. Received: edges=None.")
    return METHODS[method or ("cqr" if quantiles else "split")]
