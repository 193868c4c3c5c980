"""What a constant would have scored: the least that a model has to beat.

A constant is learnt where the model learnt, from the training pages alone. HHD-Age shows why there are several: a few
writers have dozens of pages, so the median over training pages is 18 years and the median over training writers 15,
and on the official test pages the latter has an MAE of 2.65 years. A model's skill is measured against the one that
does best on the scored pages: the hardest to beat, and a choice that can only count against the model.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.predictions.labels import match_pages

LABELS = {
    "writer_median": "median of the training writers",
    "page_median": "median of the training pages",
    "writer_mean": "mean of the training writers",
    "page_mean": "mean of the training pages",
    "hindsight_median": "median of the scored pages",
    "hindsight_mean": "mean of the scored pages",
    "source_median": "median of the training writers of the page's source",
}


@dataclass(frozen=True)
class Constant:
    """A constant as if it were a model.

    Attributes:
        name: a key of `LABELS`.
        predictions: float64 (N,), years; one value, or one for each fold or source.
        hindsight: whether it was chosen on the very pages that are scored.
        counts: whether skill is measured against it; not where it knows more than an age (the source).
    """

    name: str
    predictions: np.ndarray
    hindsight: bool = False
    counts: bool = True

    @property
    def label(self) -> str:
        return LABELS[self.name]

    @property
    def years(self) -> str:
        """`15` or, where folds or sources differ, `15 to 16.5`."""
        low, high = (f"{v:.1f}".removesuffix(".0") for v in (self.predictions.min(), self.predictions.max()))
        return low if low == high else f"{low} to {high}"


def training_constants(ages: np.ndarray, writers: np.ndarray) -> dict[str, float]:
    """Median and mean over writers (each at the mean age of its pages) and over pages, in years.

    Args:
        ages: of the training pages, (N,).
        writers: of the training pages, anything that can be told apart, (N,).
    """
    codes = pd.factorize(np.asarray(writers))[0]
    ages = np.asarray(ages, np.float64)
    of_writers = np.bincount(codes, weights=ages) / np.bincount(codes)
    return {
        "writer_median": float(np.median(of_writers)),
        "page_median": float(np.median(ages)),
        "writer_mean": float(of_writers.mean()),
        "page_mean": float(ages.mean()),
    }


def constants(pages: pd.DataFrame, labels: pd.DataFrame | None = None) -> list[Constant]:
    """The constants for the scored pages.

    With folds, each fold has its own constants, from the writers that are not in it: those in `labels`, else those in
    the other folds. Without folds they come from the training rows of `labels`: those of the split `train` (pages for
    model selection are not training pages), or all where the labels have no split. Without labels, from the scored
    pages themselves, in hindsight.

    Args:
        pages: the scored pages: `ImageID, TrueAge, Fold, Writer` and perhaps `Source`.
        labels: from `read_labels`. Defaults to none.

    Raises:
        InputError: the labels have no training rows.
    """
    found: dict[str, np.ndarray] = {}
    sets = training_sets(pages, labels)
    if sets is None:
        ages = pages.TrueAge.to_numpy()
        values = {"hindsight_median": np.median(ages), "hindsight_mean": ages.mean()}
        return [Constant(name, np.full(len(pages), value), hindsight=True) for name, value in values.items()]
    for rows, training in sets:
        for name, value in training_constants(training.TrueAge.to_numpy(), training.Writer.to_numpy()).items():
            found.setdefault(name, np.full(len(pages), np.nan))[rows] = value
    result = [Constant(name, values) for name, values in found.items()]
    by_source = source_constant(pages, sets)
    return [*result, Constant("source_median", by_source, counts=False)] if by_source is not None else result


def training_sets(pages: pd.DataFrame, labels: pd.DataFrame | None) -> list[tuple[np.ndarray, pd.DataFrame]] | None:
    """Which training pages stand behind which scored pages: `(rows of pages, training pages)`, or None if unknown."""
    folds = pages.Fold.to_numpy()
    if (folds > 0).any():
        if labels is None:
            if len(np.unique(folds)) < 2:
                return None
            known = pages.drop_duplicates("ImageID")
        else:
            known = _same_splits(pages, labels)
        sets = []
        for fold in np.unique(folds):
            rows = np.flatnonzero(folds == fold)
            inside = known.Writer.isin(pages.Writer.iloc[rows]) | known.ImageID.isin(pages.ImageID.iloc[rows])
            if inside.all():  # Nothing outside this fold to learn from.
                return None
            sets.append((rows, known[~inside]))
        return sets
    if labels is None:
        return None
    training = training_rows(labels)
    if training.empty:
        raise InputError("The training labels have no rows of the split 'train'; they have other splits only.")
    return [(np.arange(len(pages)), training)]


def training_rows(labels: pd.DataFrame) -> pd.DataFrame:
    """The rows of the split `train`; all rows where there is no split."""
    return labels[labels.Split == "train"] if "Split" in labels else labels


def source_constant(pages: pd.DataFrame, sets: list[tuple[np.ndarray, pd.DataFrame]]) -> np.ndarray | None:
    """For each scored page the median age of its source's training writers; None without several sources."""
    if "Source" not in pages or pages.Source.nunique() < 2 or any("Source" not in t for _, t in sets):
        return None
    values = np.empty(len(pages))
    for rows, training in sets:
        overall = training_constants(training.TrueAge.to_numpy(), training.Writer.to_numpy())["writer_median"]
        medians = training.groupby(["Source", "Writer"]).TrueAge.mean().groupby("Source").median()
        values[rows] = pages.Source.iloc[rows].map(medians).fillna(overall)
    return values


def _same_splits(pages: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """In cross-validation, the labels of the splits that the folds were made of."""
    if "Split" not in labels:
        return labels
    rows = match_pages(pages.ImageID, labels)
    if (rows < 0).all():
        return labels
    return labels[labels.Split.isin(labels.Split.iloc[rows[rows >= 0]].unique())]
