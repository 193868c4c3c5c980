"""The pages of a search: writers that no trial sees, and writer-disjoint folds of all others."""

import numpy as np

from age_keras.data.splits import holdout, inner_split, kfold, refuse_leak
from age_keras.errors import InputError
from age_keras.training.holdout import write_split
from age_keras.training.protocol import Part
from age_keras.training.study import Study


def search_parts(study: Study, folds: int) -> tuple[list[Part], Part]:
    """The folds of the trials, and the part on which the chosen configuration is measured once.

    The outer hold-out is the table's own `test` part where it has one, else `config.test` of the pages, by writer and
    age band. All is recorded page by page in the run.

    Returns:
        A part for each fold, and the outer part: learns from and chooses among what the trials saw, scores the rest.

    Raises:
        InputError: a leak, no outer writers, or more folds than an age band has writers.
    """
    config, table = study.config, study.table
    outer = _outer(study)
    seen = np.flatnonzero(~outer)
    numbers = np.zeros(len(table), np.int64)
    numbers[seen] = kfold(table.iloc[seen], folds, config.seed, config.bands)
    refuse_leak(table, numbers)
    write_split(study, np.where(outer, "test", "oof"), [numbers])
    fraction = config.training.selection_fraction
    parts = []
    for fold in range(1, folds + 1):
        learn, choose = inner_split(table, (numbers != fold) & ~outer, fraction, config.seed + fold, config.bands)
        parts.append(Part(f"fold{fold}", learn, choose, numbers == fold, fold))
    learn, choose = inner_split(table, ~outer, fraction, config.seed, config.bands)
    return parts, Part("outer", learn, choose, outer)


def _outer(study: Study) -> np.ndarray:
    config, table = study.config, study.table
    if config.use_split and "Split" in table and table["Split"].notna().all():
        outer = table["Split"].to_numpy(str) == "test"
        refuse_leak(table, outer)
    elif config.test > 0:
        outer = holdout(table, 0.0, config.test, config.seed, config.bands) == "test"
    else:
        outer = np.zeros(len(table), bool)
    if not outer.any():
        raise InputError("A search needs writers that no trial sees: give --test a fraction of the pages, as 0.15.")
    if outer.all():
        raise InputError("All pages are in the `test` part of the table's split: give --no-use-split.")
    return outer
