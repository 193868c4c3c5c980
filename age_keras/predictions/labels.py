"""The labels beside predictions: which pages a model learnt from, and what else is known of the scored pages."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.predictions.columns import number_column, read_table, text_column
from age_keras.predictions.table import fill_splits, fill_writers

DESCRIPTIONS = ("Sex", "Hand", "Source")


def read_labels(path: str | Path) -> pd.DataFrame:
    """Reads a table of labelled pages.

    Args:
        path: a csv, tsv, xlsx or parquet table with the usual columns: `File|image|path|filename`, `Age`,
            `WriterNumber|writer`, `Set|split`, and perhaps sex, hand and source. Pages without an age are left out.

    Returns:
        A table with `ImageID` (str), `TrueAge` (float64, years), `Writer` (str), `Split` where the table has it, and
        the other columns; `attrs["writers"]` as for `read_predictions`.

    Raises:
        InputError: the file or a column is missing, or an age is not a number.
    """
    path = Path(path)
    table = read_table(path)
    table["TrueAge"] = number_column(table, "TrueAge", path, missing=True)
    table["ImageID"] = text_column(table, "ImageID", path)
    return labels_of(table, path)


def labels_of(table: pd.DataFrame, source: str | Path = "The training labels") -> pd.DataFrame:
    """Completes a table of pages that has `ImageID` and `TrueAge` (or `Age`) as `read_labels` would."""
    table = table.rename(columns={} if "TrueAge" in table else {"Age": "TrueAge"})
    table = table[table.TrueAge.notna()].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{source} has no page with an age.")
    writers = fill_writers(table)
    if "Split" in table:
        table["Split"] = fill_splits(table, "train", source)
    table = table.replace("", np.nan)
    table.attrs = {"writers": writers}
    return table


def match_pages(pages: pd.Series, labels: pd.DataFrame) -> np.ndarray:
    """The row of `labels` that describes each page, -1 for none: by the whole ImageID, or else by the file's name."""
    whole = pd.Index(labels.ImageID)
    if whole.is_unique and (rows := whole.get_indexer(pages)).max(initial=-1) >= 0:
        return rows
    names = pd.Index(labels.ImageID.str.rsplit("/", n=1).str[-1])
    unique = ~names.duplicated(keep=False)
    rows = names[unique].get_indexer(pages.str.rsplit("/", n=1).str[-1])
    return np.where(rows >= 0, np.flatnonzero(unique)[rows], -1)


def describe(frame: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Adds to predictions what the labels know of their pages.

    Sex, hand and source where the predictions lack them; writers and splits where the predictions only guessed them
    (a page's split in the labels is the column `LabelSplit`).
    """
    rows = match_pages(frame.ImageID, labels)
    found = rows >= 0
    frame = frame.copy()

    def looked_up(column: str) -> Any:
        return np.where(found, labels[column].to_numpy(dtype=object)[rows], None)

    for column in DESCRIPTIONS:
        if column in labels and column not in frame:
            frame[column] = looked_up(column)
    if frame.attrs.get("writers") == "page" and labels.attrs["writers"] != "page" and found.all():
        frame["Writer"] = looked_up("Writer").astype(str)
        frame.attrs["writers"] = labels.attrs["writers"]
    if "Split" in labels:
        frame["LabelSplit"] = looked_up("Split")
    return frame
