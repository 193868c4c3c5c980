"""Tables of predictions: read any usual layout, write our own.

A run's `predictions.csv` is long: a row for each page and model, with the columns
`ImageID,TrueAge,Prediction,Model,Fold,Writer,Split` (+ `Lower,Upper` where there are intervals, and any other column
that describes the page: `Sex`, `Hand`, `Source`). Everything that judges a model reads such a table and nothing else,
so a paper's or a colleague's predictions are judged by the same code. Wide tables (a column a model) are read too.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.files import atomic_write
from age_keras.predictions.columns import (
    SPLITS,
    hhd_names,
    number_column,
    numbers,
    read_table,
    text_column,
    usual_meaning,
)

COLUMNS = ("ImageID", "TrueAge", "Prediction", "Model", "Fold", "Writer", "Split")
# Of one model's page: the interval, and what a quantile head said before calibration.
BOUNDS = ("Lower", "Upper", "LowerQuantile", "UpperQuantile")


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Reads predictions into the long layout.

    Args:
        path: a csv, tsv, xlsx or parquet table, or a run's folder that holds `predictions.csv`. The table is long
            (`ImageID, TrueAge, Prediction` and, if several, `Model`) or wide (`ImageID, TrueAge` and a numeric column
            for each model). `Fold`, `Writer`, `Split` and further columns are optional.

    Returns:
        A table with `ImageID` (str), `TrueAge` and `Prediction` (float64, years), `Model` (str), `Fold` (int, 0 for
        none), `Writer` (str), `Split` (`train`, `val`, `test` or `oof`), and what else the table had.
        `attrs["writers"]` says where the writers come from: `column`, `name` (HHD names, `w11_F_2_form1.tif` is
        writer 11) or `page` (unknown: each page counts as its own writer). Without a column `Split` rows are out of
        fold where there are folds, else of the test. HHD names give `Sex` too.

    Raises:
        InputError: the file or a column is missing, is empty, or holds what is not a number.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "predictions.csv"
        if not path.is_file():
            raise InputError(f"{path.parent} has no predictions.csv; give a run's folder or a table of predictions.")
    table = read_table(path)
    if "Prediction" in table:
        long = table
        if "Model" not in long:
            long["Model"] = path.parent.name if path.name == "predictions.csv" else path.stem
    else:
        long = _from_wide(table, path)
    for column in ("ImageID", "Model"):
        long[column] = text_column(long, column, path)
    for column in ("TrueAge", "Prediction"):
        long[column] = number_column(long, column, path)
    for column in BOUNDS:
        if column in long:
            long[column] = number_column(long, column, path, missing=True)
    if (outside := (long.TrueAge < 0) | (long.TrueAge > 130)).any():
        row = long[outside].iloc[0]
        raise InputError(f"{path}: page {row.ImageID} has the true age {row.TrueAge:g}; ages are years from 0 to 130.")
    long["Fold"] = _folds(long, path)
    writers = fill_writers(long)
    if writers == "name" and "Sex" not in long:
        long["Sex"] = [name.sex for name in hhd_names(long.ImageID) or ()]
    long["Split"] = fill_splits(long, np.where(long.Fold > 0, "oof", "test"), path)
    others = [c for c in long.columns if c not in COLUMNS]
    long[others] = long[others].replace("", np.nan)
    long = long[[*COLUMNS, *others]].reset_index(drop=True)
    long.attrs["writers"] = writers
    return long


def write_predictions(path: str | Path, frame: pd.DataFrame) -> None:
    """Writes a long table of predictions as csv, atomically, the standard columns first.

    Raises:
        ValueError: a standard column is missing.
    """
    if not set(COLUMNS) <= set(frame):
        raise ValueError(f"predictions need the columns {COLUMNS}. Received: columns={list(frame.columns)}")
    others = [c for c in frame.columns if c not in COLUMNS]
    with atomic_write(path) as file:
        frame[[*COLUMNS, *others]].to_csv(file, index=False, lineterminator="\n")


def select(frame: pd.DataFrame, split: str | None = None, models: Sequence[str] = ()) -> pd.DataFrame:
    """Keeps the rows that are to be scored.

    Args:
        frame: a long table, from `read_predictions`.
        split: `train`, `val`, `test` or `oof`. Defaults to the first of test, oof, val, train that the table has.
        models: the models to keep. Defaults to all.
    """
    has = frame.Split.unique()
    if split is None:
        split = next((s for s in ("test", "oof", "val", "train") if s in has), has[0])
    if split not in has:
        raise InputError(f"The predictions have no rows of the split {split!r}; they have {', '.join(sorted(has))}.")
    if unknown := [m for m in models if m not in set(frame.Model)]:
        known = ", ".join(frame.Model.unique())
        raise InputError(f"The predictions have no model {unknown[0]!r}; they have {known}.")
    keep = frame.Split == split
    if models:
        keep &= frame.Model.isin(models)
    return frame[keep].reset_index(drop=True)


def _from_wide(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if "Model" in table:
        raise InputError(f"{path} has a column Model but no column Prediction; add it, or give each model a column.")
    # A column of words describes the pages; one that a column with the standard name itself has won over is no model.
    models = [c for c in table if not usual_meaning(c) and c not in BOUNDS and numbers(table[c]).notna().any()]
    for model in models:
        number_column(table, model, path, missing=True)
    if not models:
        raise InputError(
            f"{path} has no predictions: it needs a column Prediction, or a numeric column for each model."
        )
    rest = [c for c in table.columns if c not in models]
    long = table.melt(id_vars=rest, value_vars=models, var_name="Model", value_name="Prediction")
    return long[long.Prediction != ""].reset_index(drop=True)


def _folds(long: pd.DataFrame, path: Path) -> np.ndarray:
    if "Fold" not in long:
        return np.zeros(len(long), dtype=np.int64)
    folds = number_column(long, "Fold", path, missing=True).fillna(0)
    if (broken := folds != folds.round()).any():
        raise InputError(
            f"{path}: Fold must be a whole number; data row {int(np.argmax(broken)) + 1} has {folds[broken].iloc[0]}."
        )
    return folds.astype(np.int64).to_numpy()


def fill_writers(long: pd.DataFrame) -> str:
    """Fills the column `Writer` of a table of pages, whose ids are text.

    Returns:
        Where the writers come from: `column`, `name` (all pages have HHD names) or `page` (unknown).
    """
    if "Writer" in long and (known := _present(long.Writer)).any():
        long["Writer"] = long.Writer.astype(str).where(known, long.ImageID)
        return "page" if (long.Writer == long.ImageID).all() else "column"
    names = hhd_names(long.ImageID)
    long["Writer"] = long.ImageID if names is None else [name.writer for name in names]
    return "page" if names is None else "name"


def fill_splits(long: pd.DataFrame, default: str | np.ndarray, source: str | Path) -> pd.Series:
    """The split of each row: `train`, `val`, `test` or `oof`; `default` where it is not known.

    Raises:
        InputError: another word in the column `Split`.
    """
    guess = pd.Series(default, index=long.index, dtype="str")
    if "Split" not in long:
        return guess
    known = _present(long.Split)
    words = long.Split.astype(str).str.strip().str.lower()
    named = words.map({**SPLITS, "oof": "oof"})
    if (strange := known & named.isna()).any():
        at = int(np.argmax(strange.to_numpy()))
        raise InputError(
            f"{source}: Split must be train, val, test or oof; data row {at + 1} has {long.Split.iloc[at]!r}."
        )
    return named.where(known, guess).astype("str")


def _present(cells: pd.Series) -> pd.Series:
    return cells.notna() & (cells != "")
