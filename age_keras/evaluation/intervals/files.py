"""Intervals for files: calibrated on one table for another, or within one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.conformal.methods import cross_plus
from age_keras.errors import InputError
from age_keras.predictions.intervals import Method, add_intervals, bound, bound_out_of_fold, pages_of
from age_keras.predictions.table import read_predictions, select


class IntervalSource:
    """Two tables, or one, read and checked once; `rows(coverage)` gives the scored rows with bounds.

    Args:
        calibration: Predictions with known ages; with `test` none, a run or out-of-fold predictions.
        test: The predictions to bound.
        edges: Edges of the age bands, for the method `mondrian`.
        method: See `add_intervals`; for two tables `cross` takes out-of-fold calibration pages: CV+ where test pages
            were predicted by the model of each fold, else all out-of-fold errors around the one prediction.

    Raises:
        InputError: a writer in both tables, a model that lacks calibration, or a method that does not fit.
    """

    def __init__(self, calibration: Path, test: Path | None, edges: Sequence[float], method: Method | None = None):
        self.method, self.edges = method, edges
        frame = read_predictions(calibration)
        splits = set(frame.Split)
        self.known_writers = frame.attrs["writers"] != "page"
        if test is None:
            self.calibration = None
            if "val" in splits and splits & {"test", "oof"}:
                self.test, self.within = frame, True
            else:
                self.test, self.within = select(frame), False
            return
        self.calibration = select(frame, "val" if "val" in splits else None)
        self.test, self.within = select(read_predictions(test)), False
        _refuse_leak(self.calibration, self.test, calibration, test)
        for model in self.test.Model.unique():
            if model not in set(self.calibration.Model):
                known = ", ".join(self.calibration.Model.unique())
                raise InputError(f"{calibration} has no predictions of {model} to calibrate with; it has {known}.")

    def rows(self, coverage: float) -> pd.DataFrame:
        """The scored rows with `Lower` and `Upper`."""
        if self.within:
            frame = add_intervals(self.test, coverage, self.method, self.edges)
            return select(frame)
        parts = []
        for model, rows in self.test.groupby("Model", sort=False):
            if self.calibration is None:
                lower, upper = bound_out_of_fold(rows, coverage, self.method, self.edges)
            elif self.method == "cross":
                rows, (lower, upper) = _cross(self._of(model), rows, coverage)
            else:
                lower, upper = bound(self._of(model), rows, coverage, self.method, self.edges)
            parts.append(rows.assign(Lower=lower, Upper=upper))
        return pd.concat(parts, ignore_index=True)

    def _of(self, model: str) -> pd.DataFrame:
        return self.calibration[self.calibration.Model == model]


def _cross(calibration: pd.DataFrame, rows: pd.DataFrame, coverage: float):
    """Bounds by out-of-fold errors: CV+ where every fold's model predicted the page, else around its one prediction.

    With CV+ a page has one row, predicted at the mean of the folds' models. The one prediction is taken to be by a
    model that errs like the folds' models, e.g. the same one trained on all of their pages.
    """
    folds = np.unique(calibration.Fold)
    if len(folds) < 2:
        raise InputError(
            "The method `cross` needs out-of-fold calibration pages, with a column Fold of two folds or more; use "
            "--method split."
        )
    if not rows.ImageID.duplicated().any():
        return rows, bound(calibration, rows, coverage, "split")
    wide = rows.pivot_table(index="ImageID", columns="Fold", values="Prediction", sort=False)
    if not set(folds) <= set(wide.columns) or wide[folds].isna().to_numpy().any():
        raise InputError(
            "The method `cross` with several predictions a page is CV+: it needs one by the model of each fold of the "
            f"calibration pages ({', '.join(map(str, folds))}), told apart by the column Fold."
        )
    votes = wide[folds].to_numpy().T
    one = rows.drop_duplicates("ImageID").set_index("ImageID").loc[wide.index].reset_index()
    one = one.assign(Prediction=votes.mean(axis=0), Fold=0)
    return one, cross_plus(pages_of(calibration), votes, folds, coverage)


def _refuse_leak(calibration: pd.DataFrame, test: pd.DataFrame, first: Path, second: Path) -> None:
    for column, what in (("ImageID", "page"), ("Writer", "writer")):
        if shared := set(calibration[column]) & set(test[column]):
            raise InputError(
                f"{len(shared)} {what}s are in both {first} and {second} ({min(shared)}): intervals must be calibrated "
                "on writers that are not scored."
            )
