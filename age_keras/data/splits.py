"""Writer-disjoint splits: hold-out, stratified group k-fold, repeated, nested, or as a column says.

scikit-learn's StratifiedGroupKFold gives other folds in other versions (1.5.2 and 1.9.1 differ on HHD-Age), so the
assignment is our own, depends on nothing but the table and the seed, and every run records it page by page. Whole
writers are dealt out, the ones with most pages first, each to the part that is furthest behind in its share of the
band's writers, the band's pages and all pages.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from age_keras.bands import BAND_EDGES, band_index, band_names
from age_keras.errors import InputError

PARTS = ("train", "val", "test")


def holdout(
    table: pd.DataFrame,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 0,
    edges: Sequence[float] = BAND_EDGES,
) -> np.ndarray:
    """Splits pages into train, val and test by writer, stratified by age band.

    Args:
        table: with the columns `Writer` and `Age`.
        validation, test: shares of the pages, in [0, 1); together below 1.
        seed: of the order in which writers with equally many pages are dealt.
        edges: of the age bands, in years.

    Returns:
        str (N,): `train`, `val` or `test` for each page.

    Raises:
        InputError: impossible shares, or fewer writers than parts.
    """
    shares = np.array([1 - validation - test, validation, test])
    if (shares < 0).any() or shares[0] <= 0:
        raise InputError(
            f"The shares validation={validation} and test={test} leave no training pages: they must lie in [0, 1) "
            "and sum to less than 1."
        )
    used = np.flatnonzero(shares > 0)
    _require_writers(table, len(used), f"a split into {' and '.join(PARTS[i] for i in used)}")
    return np.array(PARTS)[used[_deal(table, shares[used], seed, edges)]]


def kfold(table: pd.DataFrame, folds: int = 5, seed: int = 0, edges: Sequence[float] = BAND_EDGES) -> np.ndarray:
    """Stratified group k-fold: age band × writer, balanced in writers and in pages.

    Args:
        table: with the columns `Writer` and `Age`.
        folds: how many, at least 2.
        seed: another seed, other folds.
        edges: of the age bands, in years.

    Returns:
        int64 (N,): the fold of each page, from 1 to `folds`.

    Raises:
        InputError: a band has writers, but fewer than folds.
    """
    if folds < 2:
        raise InputError(f"`folds` must be at least 2. Received: folds={folds}.")
    _require_writers(table, folds, f"{folds} folds")
    writers = _writers(table, edges)
    counts = np.bincount(writers["band"], minlength=len(edges) + 1)
    for band in np.flatnonzero((counts > 0) & (counts < folds)):
        raise InputError(
            f"The age band {band_names(edges)[band]} has {counts[band]} writers, too few for {folds} folds: "
            f"{f'use at most {counts[band]} folds, or ' if counts[band] > 1 else ''}join age bands with --bands."
        )
    return _deal(table, np.full(folds, 1 / folds), seed, edges) + 1


def repeated_kfold(
    table: pd.DataFrame, folds: int = 5, repeats: int = 1, seed: int = 0, edges: Sequence[float] = BAND_EDGES
) -> list[np.ndarray]:
    """One `kfold` for each repeat, with seeds `seed`, `seed + 1`, ..."""
    return [kfold(table, folds, seed + repeat, edges) for repeat in range(repeats)]


def inner_split(
    table: pd.DataFrame, training: np.ndarray, share: float, seed: int = 0, edges: Sequence[float] = BAND_EDGES
) -> tuple[np.ndarray, np.ndarray]:
    """Splits training pages again, by writer, into those that are learnt from and those that choose the epoch.

    Args:
        table: with the columns `Writer` and `Age`.
        training: bool (N,), the pages of the training part.
        share: of the training pages that choose, in (0, 1).
        seed, edges: as in `holdout`.

    Returns:
        Two bool (N,): pages to learn from, pages that choose.
    """
    rows = np.flatnonzero(training)
    parts = holdout(table.iloc[rows], share, 0.0, seed, edges)
    learn, choose = np.zeros(len(table), bool), np.zeros(len(table), bool)
    learn[rows[parts == "train"]] = True
    choose[rows[parts == "val"]] = True
    return learn, choose


def nested_kfold(
    table: pd.DataFrame, folds: int = 5, inner: int = 3, seed: int = 0, edges: Sequence[float] = BAND_EDGES
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Nested cross-validation: for each outer fold, inner folds of the other pages.

    Yields:
        The outer fold (from 1), bool (N,) pages it scores, and int64 (N,) inner folds (from 1; 0 on the scored pages).
    """
    outer = kfold(table, folds, seed, edges)
    for fold in range(1, folds + 1):
        rows = np.flatnonzero(outer != fold)
        inside = np.zeros(len(table), np.int64)
        inside[rows] = kfold(table.iloc[rows], inner, seed + fold, edges)
        yield fold, outer == fold, inside


def folds_from_column(table: pd.DataFrame, column: str = "Fold") -> np.ndarray:
    """Folds that the table states, numbered from 1 in ascending order of their names.

    Raises:
        InputError: no such column, an empty cell, a single fold, or a writer in two folds.
    """
    if column not in table:
        raise InputError(f"The table has no column {column!r} for the folds; it has {', '.join(table.columns)}.")
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
            f"{len(leaks)} writers have pages in two parts of {source} ({named}): a model would be scored on hands "
            "it has seen; put each writer into one part."
        )


def _writers(table: pd.DataFrame, edges: Sequence[float]) -> pd.DataFrame:
    """A row for each writer, sorted by name: pages, and the band of the median age."""
    grouped = table.groupby("Writer", sort=True)["Age"]
    writers = pd.DataFrame({"pages": grouped.size(), "age": grouped.median()})
    writers["band"] = band_index(writers["age"].to_numpy(), edges)
    return writers


def _require_writers(table: pd.DataFrame, parts: int, what: str) -> None:
    count = table["Writer"].nunique()
    if count < parts:
        raise InputError(f"The table has {count} writers, too few for {what}: every part needs a writer of its own.")


def _deal(table: pd.DataFrame, shares: np.ndarray, seed: int, edges: Sequence[float]) -> np.ndarray:
    """The part, from 0, of each page."""
    writers = _writers(table, edges)
    shuffled = np.random.default_rng(seed).permutation(len(writers))
    order = shuffled[np.argsort(-writers["pages"].to_numpy()[shuffled], kind="stable")]
    pages, bands = writers["pages"].to_numpy(), writers["band"].to_numpy()
    band_writers = np.bincount(bands, minlength=len(edges) + 1)
    band_pages = np.bincount(bands, pages, minlength=len(edges) + 1)
    dealt_writers = np.zeros((len(shares), len(edges) + 1))
    dealt_pages = np.zeros_like(dealt_writers)
    left = band_writers.copy()
    part = np.empty(len(writers), np.int64)
    for w in order:
        band = bands[w]
        fill = (
            (dealt_writers[:, band] + 1) / (shares * band_writers[band])
            + (dealt_pages[:, band] + pages[w]) / (shares * band_pages[band])
            + (dealt_pages.sum(axis=1) + pages[w]) / (shares * pages.sum())
        )
        # No part stays without a band while there are writers enough for each.
        empty = dealt_writers[:, band] == 0
        if empty.any() and left[band] <= empty.sum():
            fill[~empty] = np.inf
        nobody = dealt_writers.sum(axis=1) == 0
        if nobody.any() and left.sum() <= nobody.sum():
            fill[~nobody] = np.inf
            fill[nobody] = 0
        part[w] = np.argmin(fill)
        dealt_writers[part[w], band] += 1
        dealt_pages[part[w], band] += pages[w]
        left[band] -= 1
    return pd.Series(part, index=writers.index).loc[table["Writer"]].to_numpy()
