"""Tables of predictions: read any usual layout, write our own.

A run's `predictions.csv` is long: a row for each page and model, with the columns
`ImageID,TrueAge,Prediction,Model,Fold,Writer,Split` (+ `Lower,Upper` where there are intervals, and any other column
that describes the page: `Sex`, `Hand`, `Source`). Everything that judges a model reads such a table and nothing else,
so a paper's or a colleague's predictions are judged by the same code. Wide tables (a column a model) are read too.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.files import atomic_write
from age_keras.predictions.columns import number_column, read_table, text_column

COLUMNS = ("ImageID", "TrueAge", "Prediction", "Model", "Fold", "Writer", "Split")
# Of one model's page: the interval, and what a quantile head said before calibration.
BOUNDS = ("Lower", "Upper", "LowerQuantile", "UpperQuantile")
_HHD_NAME = re.compile(r"(?:^|[/\\])w(\d+)_([A-Za-z]+)_\d+[^/\\]*$")


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
        writer 11) or `page` (unknown: each page counts as its own writer). `attrs["splits"]` is `column` or `guess`
        (out-of-fold where there are folds, else test). HHD names give `Sex` too.

    Raises:
        InputError: the file or a column is missing, is empty, or holds what is not a number.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "predictions.csv"
        if not path.is_file():
            raise InputError(f"{path.parent} has no predictions.csv; give a run's folder or a table of predictions.")
    table = read_table(path)
    for column in ("ImageID", "TrueAge"):
        if column not in table:
            raise InputError(f"{path} has no column {column}; it has {', '.join(map(str, table.columns))}.")
    if "Prediction" in table:
        long = table.copy()
        if "Model" not in long:
            long["Model"] = path.parent.name if path.name == "predictions.csv" else path.stem
    else:
        long = _from_wide(table, path)
    long["ImageID"] = text_column(long, "ImageID", path)
    long["Model"] = text_column(long, "Model", path)
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
    splits = "column" if "Split" in long else "guess"
    long["Split"] = fill_splits(long, default=np.where(long.Fold > 0, "oof", "test"))
    if writers == "name" and "Sex" not in long:
        sex = _from_names(long.ImageID, 2).str.upper()
        long["Sex"] = sex.where(sex.isin(["F", "M"]))
    others = [c for c in long.columns if c not in COLUMNS]
    long = long[[*COLUMNS, *others]].reset_index(drop=True)
    long.attrs.update(writers=writers, splits=splits)
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
    known = {*COLUMNS, "Sex", "Hand", "Source", "AgeGroup", *BOUNDS}
    models = []
    for column in (c for c in table.columns if c not in known):
        numbers = pd.to_numeric(table[column], errors="coerce")
        if numbers.notna().any():  # A column of words describes the pages.
            table[column] = number_column(table, column, path, missing=True)
            models.append(column)
    if not models:
        raise InputError(
            f"{path} has no predictions: it needs a column Prediction, or a numeric column for each model."
        )
    rest = [c for c in table.columns if c not in models]
    long = table.melt(id_vars=rest, value_vars=models, var_name="Model", value_name="Prediction")
    return long.dropna(subset="Prediction").reset_index(drop=True)


def _folds(long: pd.DataFrame, path: Path) -> np.ndarray:
    if "Fold" not in long:
        return np.zeros(len(long), dtype=np.int64)
    folds = number_column(long, "Fold", path, missing=True).fillna(0)
    if (broken := folds != folds.round()).any():
        raise InputError(
            f"{path}: Fold must be a whole number; row {int(np.argmax(broken)) + 2} has {folds[broken].iloc[0]}."
        )
    return folds.astype(np.int64).to_numpy()


def fill_writers(long: pd.DataFrame) -> str:
    """Fills the column `Writer` of a table of pages; says where it came from: `column`, `name` or `page`."""
    if "Writer" in long and long.Writer.notna().any():
        named = text_column(long, "Writer")
        long["Writer"] = named.where(long.Writer.notna(), long.ImageID)
        return "page" if (long.Writer == long.ImageID).all() else "column"
    names = _from_names(long.ImageID, 1)
    long["Writer"] = names.str.lstrip("0").where(names.notna(), long.ImageID)
    return "name" if names.notna().all() else "page"


def _from_names(pages: pd.Series, group: int) -> pd.Series:
    """What stands in the names of HHD pages: 1 the writer's number, 2 the sex."""
    found = {page: match[group] for page in pages.unique() if (match := _HHD_NAME.search(page))}
    return pages.map(found).astype("string")


def fill_splits(long: pd.DataFrame, default: str | np.ndarray) -> pd.Series:
    """The split of each row in lower case, `default` where it is not known."""
    guess = pd.Series(default, index=long.index)
    if "Split" not in long:
        return guess
    named = long.Split.astype("string").str.strip().str.lower().replace({"validation": "val", "valid": "val"})
    return named.fillna(guess).astype(str)
