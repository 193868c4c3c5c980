"""Deals whole writers to the folds of a cross-validation, or to training, validation and test.

scikit-learn's StratifiedGroupKFold gives other folds in other versions (1.5.2 and 1.9.1 differ on HHD-Age), so the
assignment is our own and depends on nothing but its arguments.
"""

import numpy as np
from numpy.typing import ArrayLike


def deal(writers: ArrayLike, fractions: ArrayLike, seed: int = 0, strata: ArrayLike | None = None) -> np.ndarray:
    """Deals writers with all of their rows to parts, balanced in writers and in rows.

    The writers with most rows are dealt first, each to the part that is furthest behind in its fraction of the
    stratum's writers, the stratum's rows and all rows. Every part gets a writer, and one of each stratum, as long as
    there are enough.

    Args:
        writers: The writer of each row, anything that can be sorted, (N,).
        fractions: The fraction of the rows that each part is to have, above 0, summing to 1; `[1 / k] * k` for k folds.
        seed: Seed of the order in which writers with equally many rows are dealt. Defaults to 0.
        strata: The stratum of each row's writer (an age band, a group of people), integers from 0, (N,). Defaults to
            one stratum.

    Returns:
        int64 (N,): the part of each row, from 0.
    """
    names, first, writer, rows = np.unique(
        np.asarray(writers), return_index=True, return_inverse=True, return_counts=True
    )
    stratum_of = np.zeros(len(names), np.int64) if strata is None else np.asarray(strata)[first]
    wanted = np.asarray(fractions, np.float64)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-rows[shuffled], kind="stable")]
    writers_of, rows_of = np.bincount(stratum_of), np.bincount(stratum_of, rows)
    dealt_writers = np.zeros((len(wanted), len(writers_of)))
    dealt_rows = np.zeros_like(dealt_writers)
    left = writers_of.copy()
    part = np.empty(len(names), np.int64)
    for w in order:
        stratum = stratum_of[w]
        fill = (
            (dealt_writers[:, stratum] + 1) / (wanted * writers_of[stratum])
            + (dealt_rows[:, stratum] + rows[w]) / (wanted * rows_of[stratum])
            + (dealt_rows.sum(axis=1) + rows[w]) / (wanted * rows.sum())
        )
        # No part stays without a stratum while there are writers enough for each.
        empty = dealt_writers[:, stratum] == 0
        if empty.any() and left[stratum] <= empty.sum():
            fill[~empty] = np.inf
        nobody = dealt_writers.sum(axis=1) == 0
        if nobody.any() and left.sum() <= nobody.sum():
            fill[~nobody] = np.inf
            fill[nobody] = 0
        part[w] = np.argmin(fill)
        dealt_writers[part[w], stratum] += 1
        dealt_rows[part[w], stratum] += rows[w]
        left[stratum] -= 1
    return part[writer]
