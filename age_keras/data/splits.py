"""Writer-disjoint splits, stratified by age band: hold-out, k-fold, repeated k-fold, or as a column says.

Every run records its splits page by page. `age_keras.folds.deal` says how writers are dealt out.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.bands import band_index, band_names
from age_keras.errors import InputError
from age_keras.folds import deal

PARTS = ("train", "val", "test")


def holdout(table: pd.DataFrame, validation: float, test: float, seed: int, edges: Sequence[float]) -> np.ndarray:
    """Splits pages into train, val and test by writer, stratified by age band.

    Args:
        table: Pages, with the columns `Writer` and `Age` (years); N rows.
        validation, test: Fractions of the pages, in [0, 1), together below 1.
        seed: Seed of the order in which writers with equally many pages are dealt.
        edges: Edges of the age bands, see `band_index`.

    Returns:
        str (N,): `train`, `val` or `test` for each page.

    Raises:
        InputError: The fractions are impossible, or there are fewer writers than parts.
    """
    fractions = np.array([1 - validation - test, validation, test])
    if (fractions < 0).any() or fractions[0] <= 0:
        raise InputError(
            "`validation` and `test` must lie in [0, 1) and sum to less than 1, so that training pages are left. "
            f"Received: validation={validation}, test={test}."
        )
    used = np.flatnonzero(fractions > 0)
    _require_writers(table, len(used), f"a split into {' and '.join(PARTS[i] for i in used)}")
    return np.array(PARTS)[used[deal(table["Writer"], fractions[used], seed, _bands(table, edges))]]


def kfold(table: pd.DataFrame, folds: int, seed: int, edges: Sequence[float]) -> np.ndarray:
    """Deals writers to folds, stratified by age band, balanced in writers and in pages.

    Args:
        table: Pages, with the columns `Writer` and `Age` (years); N rows.
        folds: Number of folds, at least 2.
        seed: Seed of the order in which writers with equally many pages are dealt.
        edges: Edges of the age bands, see `band_index`.

    Returns:
        int64 (N,): the fold of each page, from 1 to `folds`.

    Raises:
        InputError: A band has writers, but fewer than folds.
    """
    if folds < 2:
        raise InputError(f"`folds` must be at least 2. Received: folds={folds}.")
    _require_writers(table, folds, f"{folds} folds")
    bands = _bands(table, edges)
    counts = np.bincount(bands[~table["Writer"].duplicated().to_numpy()], minlength=len(edges) + 1)
    for band in np.flatnonzero((counts > 0) & (counts < folds)):
        raise InputError(
            f"The age band {band_names(edges)[band]} has {counts[band]} writers, too few for {folds} folds: "
            f"{f'use at most {counts[band]} folds, or ' if counts[band] > 1 else ''}join age bands with --bands."
        )
    return deal(table["Writer"], np.full(folds, 1 / folds), seed, bands) + 1


def repeated_kfold(
    table: pd.DataFrame, folds: int, repeats: int, seed: int, edges: Sequence[float]
) -> list[np.ndarray]:
    """One `kfold` for each repeat, with seeds `seed`, `seed + 1`, ..."""
    return [kfold(table, folds, seed + repeat, edges) for repeat in range(repeats)]


def inner_split(
    table: pd.DataFrame, training: np.ndarray, fraction: float, seed: int, edges: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Splits training pages again, by writer, into those that are learnt from and those that choose the epoch.

    Args:
        table: Pages, with the columns `Writer` and `Age` (years); N rows.
        training: The pages of the training part, bool (N,).
        fraction: Fraction of the training pages that choose, in (0, 1).
        seed, edges: As in `holdout`.

    Returns:
        Two bool (N,): pages to learn from, pages that choose.
    """
    rows = np.flatnonzero(training)
    parts = holdout(table.iloc[rows], fraction, 0.0, seed, edges)
    learn, choose = np.zeros(len(table), bool), np.zeros(len(table), bool)
    learn[rows[parts == "train"]] = True
    choose[rows[parts == "val"]] = True
    return learn, choose


def check_fold_column(table: pd.DataFrame, column: str, source: str | Path = "The table") -> None:
    """Raises `InputError`, naming the table's source, where a table of pages lacks the column of the folds."""
    if column not in table:
        known = ", ".join(table.columns)
        raise InputError(f"{source} has no column {column!r} for the folds: choose one of {known} with --folds.column.")


def folds_from_column(table: pd.DataFrame, column: str = "Fold") -> np.ndarray:
    """Folds that the table states, numbered from 1 in ascending order of their names.

    Raises:
        InputError: no such column, an empty cell, a single fold, or a writer in two folds.
    """
    check_fold_column(table, column)
    if table[column].isna().any():
        raise InputError(
            f"The column {column!r} is empty for {int(table[column].isna().sum())} pages: give each a fold."
        )
    values, folds = np.unique(table[column].to_numpy(), return_inverse=True)
    if len(values) < 2:
        raise InputError(f"The column {column!r} holds a single fold: cross-validation needs two or more.")
    refuse_leak(table, folds, f"the column {column!r}")
    return folds + 1


def refuse_leak(table: pd.DataFrame, parts: np.ndarray, source: str = "the split") -> None:
    """Raises `InputError` if a writer's pages lie in two parts."""
    parts_per_writer = pd.Series(parts).groupby(table["Writer"].to_numpy()).nunique()
    leaks = parts_per_writer.index[parts_per_writer > 1]
    if len(leaks):
        named = ", ".join(map(str, leaks[:3])) + (" ..." if len(leaks) > 3 else "")
        raise InputError(
            f"{len(leaks)} writers have pages in two parts of {source} ({named}): a model would be scored on "
            "writers that it was trained on; put each writer into one part."
        )


def _bands(table: pd.DataFrame, edges: Sequence[float]) -> np.ndarray:
    """The band of the median age of each page's writer, int64 (N,)."""
    return band_index(table.groupby("Writer")["Age"].transform("median").to_numpy(), edges)


def _require_writers(table: pd.DataFrame, parts: int, what: str) -> None:
    count = table["Writer"].nunique()
    if count < parts:
        raise InputError(f"The table has {count} writers, too few for {what}: every part needs a writer of its own.")
