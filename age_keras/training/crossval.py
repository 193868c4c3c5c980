"""Cross-validation: folds disjoint by writer, the best epoch chosen inside each training part, all pages scored."""

import numpy as np

from age_keras.data.splits import folds_from_column, inner_split, refuse_leak, repeated_kfold
from age_keras.training.holdout import write_split
from age_keras.training.protocol import Part
from age_keras.training.study import Study


def fold_parts(study: Study) -> list[Part]:
    """The parts of a cross-validation, recorded in the run: what each fold learns from, what chooses, what it scores.

    Raises:
        InputError: a leak, or more folds than a band has writers.
    """
    config, table = study.config, study.table
    if config.folds.column:
        repeats = [folds_from_column(table, config.folds.column)]
    else:
        repeats = repeated_kfold(table, config.folds.count, config.folds.repeats, config.seed, config.bands)
    for repeat in repeats:
        refuse_leak(table, repeat)
    write_split(study, np.full(len(table), "oof"), repeats)
    parts = []
    for number, folds in enumerate(repeats):
        for fold in np.unique(folds):
            name = f"repeat{number + 1}" if number else ""
            parts.append(_part(study, name, folds == fold, int(fold)))
    return parts


def _part(study: Study, repeat: str, score: np.ndarray, fold: int) -> Part:
    label = f"{repeat}-fold{fold}" if repeat else f"fold{fold}"
    folds, config = study.config.folds, study.config
    if folds.selection == "published":
        return Part(label, ~score, score, score, fold, repeat)
    learn, choose = inner_split(study.table, ~score, folds.selection_fraction, config.seed + fold, config.bands)
    return Part(label, learn, choose, score, fold, repeat)
