"""Several models' predictions lined up page by page: what judges them works on these arrays."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.predictions.table import BOUNDS


@dataclass(frozen=True)
class Aligned:
    """The predictions of several models for the same pages.

    Attributes:
        pages: a row for each page (and fold, in repeated cross-validation): `ImageID, TrueAge, Fold, Writer, Split`
            and the further columns. N rows.
        models: the M models' names, in the order of the table.
        predictions: float64 (M, N), years.
        lower, upper: float64 (M, N), years, NaN where there is no interval; None where the table has none.
        missing: how many pages each model lacks that another has; such pages are left out.
        repeated: how many rows gave a page and model a second time (the same fold); their predictions are averaged.
    """

    pages: pd.DataFrame
    models: tuple[str, ...]
    predictions: np.ndarray
    lower: np.ndarray | None
    upper: np.ndarray | None
    missing: dict[str, int]
    repeated: int

    @property
    def truth(self) -> np.ndarray:
        """True ages in years, float64 (N,)."""
        return self.pages.TrueAge.to_numpy()

    @property
    def writers(self) -> np.ndarray:
        """The writers as integers from 0, int64 (N,)."""
        return pd.factorize(self.pages.Writer)[0]

    def rows(self, keep: np.ndarray) -> "Aligned":
        """The same models on some of the pages: `keep` is a boolean mask or row numbers."""
        lower, upper = (None if a is None else a[:, keep] for a in (self.lower, self.upper))
        pages = self.pages[keep] if np.asarray(keep).dtype == bool else self.pages.iloc[keep]
        pages = pages.reset_index(drop=True)
        return replace(self, pages=pages, predictions=self.predictions[:, keep], lower=lower, upper=upper)


def align(frame: pd.DataFrame) -> Aligned:
    """Lines models up on the pages that all of them have.

    Args:
        frame: A long table, from `read_predictions`; one split.

    Raises:
        InputError: a page has two true ages, or no page has a prediction from every model.
    """
    model, models = pd.factorize(frame.Model)
    page, keys = pd.factorize(frame.ImageID + "\0" + frame.Fold.astype(str))
    first = np.unique(page, return_index=True)[1]
    pages = frame.iloc[first].drop(columns=["Model", "Prediction", *BOUNDS], errors="ignore")
    truth = pages.TrueAge.to_numpy()
    if (differs := np.abs(truth[page] - frame.TrueAge.to_numpy()) > 1e-6).any():
        row = frame[differs].iloc[0]
        raise InputError(f"Page {row.ImageID} has two true ages: {truth[page][differs][0]:g} and {row.TrueAge:g}.")
    shape = (len(models), len(keys))
    cell = model * len(keys) + page
    count = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    complete = (count > 0).all(axis=0)
    if not complete.any():
        raise InputError("No page has a prediction from every model; judge the models one at a time with --model.")

    def matrix(column: str) -> np.ndarray:
        total = np.bincount(cell, weights=frame[column].to_numpy(), minlength=count.size).reshape(shape)
        return (total / np.maximum(count, 1))[:, complete]

    lacking = {str(m): int((row == 0).sum()) for m, row in zip(models, count, strict=True)}
    has_interval = "Lower" in frame and "Upper" in frame
    return Aligned(
        pages=pages[complete].reset_index(drop=True),
        models=tuple(map(str, models)),
        predictions=matrix("Prediction"),
        lower=matrix("Lower") if has_interval else None,
        upper=matrix("Upper") if has_interval else None,
        missing={m: n for m, n in lacking.items() if n},
        repeated=int(np.maximum(count - 1, 0).sum()),
    )
