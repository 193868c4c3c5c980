"""Hold-out: the table's own split, or one by writer and age band; recorded page by page in the run's folder."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from age_keras.data.splits import holdout, refuse_leak
from age_keras.errors import InputError
from age_keras.files import atomic_write
from age_keras.training.protocol import Part
from age_keras.training.study import Study


def holdout_part(study: Study) -> Part:
    """The hold-out split: the table's own where it has one, else by writer and age band. Recorded in the run."""
    parts = _holdout(study, study.table)
    write_split(study, parts)
    return Part("", parts == "train", parts == "val", parts == "test")


def holdout_with_extra(study: Study, extra: np.ndarray) -> list[Part]:
    """The hold-out split of the pages that are not extra, learnt from without the extra pages and with them.

    Args:
        study: whose pages.
        extra: bool (N,). An extra page by a writer who chooses or is scored is not used.
    """
    table = study.table
    parts = np.full(len(table), "unused")
    parts[~extra] = _holdout(study, table[~extra])
    held_out = table["Writer"][parts != "train"][~extra[parts != "train"]]
    usable = extra & ~table["Writer"].isin(held_out).to_numpy()
    write_split(study, np.where(usable, "train", parts))
    learn, choose, score = parts == "train", parts == "val", parts == "test"
    return [Part("", learn, choose, score), Part("extra", learn | usable, choose, score, repeat="extra")]


def _holdout(study: Study, table: pd.DataFrame) -> np.ndarray:
    """`train`, `val` or `test` for each page of a table."""
    config = study.config
    if config.use_split and "Split" in table and table["Split"].notna().all():
        parts = table["Split"].to_numpy(str)
        refuse_leak(table, parts)
    else:
        parts = holdout(table, config.validation, config.test, config.seed, config.bands)
    purposes = {"train": "to train on", "val": "to choose the epoch with", "test": "to score"}
    for name, purpose in purposes.items():
        if not (parts == name).any():
            raise InputError(
                f"There are no pages {purpose}: the split has no `{name}` part. Fix the Split column, or give "
                "--no-use-split."
            )
    return parts


def write_split(study: Study, parts: np.ndarray, repeats: Sequence[np.ndarray] = ()) -> None:
    """Records who is where, page by page, so that no library version can move a writer.

    Args:
        study: whose pages.
        parts: str (N,), `train`, `val`, `test` or `oof`.
        repeats: int (N,) each, the folds of each repeat of a cross-validation.
    """
    table = study.table[["ImageID", "Age", "Writer"]].assign(Split=parts)
    for number, folds in enumerate(repeats):
        table["Fold" if number == 0 else f"Fold{number + 1}"] = folds
    with atomic_write(study.run.file("train_labels.csv")) as file:
        table.to_csv(file, index=False)
