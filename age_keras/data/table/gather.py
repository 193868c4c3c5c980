"""Find the pages of a folder and what its labels table says of each, before anything is judged."""

import dataclasses
import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pandas as pd

from age_keras.config.columns import ColumnNames
from age_keras.data.patches.decode import IMAGES
from age_keras.data.table.content import content_hashes
from age_keras.errors import InputError
from age_keras.predictions.columns import SPLITS, TABLES, hhd_names, numbers, read_table

KNOWN_LABELS = ("labels", "ageannotations_and_split")


@dataclasses.dataclass(frozen=True)
class Gathered:
    """A labels table as found, every row still there.

    Args:
        root: the folder of the pages.
        labels: the labels file, or `None` where the folder has none.
        table: `ImageID`, `Age` (NaN where it is not a number), `Writer` ("" where absent), and what else there is.
        age_text: the age as written.
        split_text: the split as written ("" where absent).
        missing: which rows name a file that is not there.
        outside: which rows name a file that is not in the folder.
        writers: where the writers come from: `column`, `names` (HHD-Age's file names), or `none`.
    """

    root: Path
    labels: Path | None
    table: pd.DataFrame
    age_text: pd.Series
    split_text: pd.Series
    missing: np.ndarray
    outside: np.ndarray
    writers: str

    def hashes(self) -> list[str]:
        """Content hash of each page that is there; "" for one that is not, or that lies outside the folder."""
        usable = np.flatnonzero(~self.missing & ~self.outside)
        hashes = [""] * len(self.table)
        found = content_hashes([self.root / self.table["ImageID"][row] for row in usable])
        for row, digest in zip(usable, found, strict=True):
            hashes[row] = digest
        return hashes


def gather(folder: str | Path, labels: str | Path | None = None, columns: ColumnNames | None = None) -> Gathered:
    """Reads the labels table of a folder and finds its pages.

    Args:
        folder: an HHD-Age folder as unpacked (possibly within one top folder), or any folder with a labels file, or
            a folder without one, whose pages are all images below it.
        labels: the labels file. Defaults to the one found in the folder.
        columns: which column is what. Defaults to the usual names.

    Raises:
        InputError: there is no such folder, no page, or the labels cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {what}: give the folder of the pages.")
    root = folder
    if labels is None:
        labels = _find_labels(folder)
        if labels is None:
            nested = [path for path in folder.iterdir() if path.is_dir() and not is_stray(path.name)]
            if len(nested) == 1 and (labels := _find_labels(nested[0])):
                root = nested[0]
    else:
        labels = Path(labels)
    if labels is None:
        return _complete(root, None, pd.DataFrame({"ImageID": images_below(root)}, dtype="str"))
    return _complete(root, labels, read_table(labels, columns or ColumnNames(), required=("ImageID",)))


def _complete(root: Path, labels: Path | None, table: pd.DataFrame) -> Gathered:
    empty = pd.Series("", index=table.index, dtype="str")
    split_text = table.get("Split", empty)
    if labels is None:  # listed, not named by anybody
        files, missing, outside = list(table["ImageID"]), np.zeros(len(table), bool), np.zeros(len(table), bool)
    else:
        files, missing, outside = _resolve(root, table["ImageID"], split_text)
    age_text = table.get("TrueAge", empty)
    out = pd.DataFrame({"ImageID": files, "Age": numbers(age_text)})
    out.loc[~np.isfinite(out["Age"]), "Age"] = np.nan
    names = hhd_names(out["ImageID"])
    writers = "column" if "Writer" in table and (table["Writer"] != "").any() else "names" if names else "none"
    if writers == "column":
        out["Writer"] = table["Writer"]
    else:
        out["Writer"] = [name.writer for name in names] if names else files
    if (split_text != "").any():
        out["Split"] = [SPLITS.get(split.lower(), "") for split in split_text]
    for column, field in (("Sex", "sex"), ("AgeGroup", "age_group")):
        if column in table:
            out[column] = table[column]
        elif names:
            out[column] = [getattr(name, field) for name in names]
    for name in ("AgeGroup", "Fold"):
        if name == "Fold" and name in table:
            out[name] = table[name]
        if name in out:
            out[name] = _integers(out[name], name, labels)
    for name in table.columns:
        if name not in out and name not in ("TrueAge", "Split"):
            out[name] = table[name]
    return Gathered(root, labels, out, age_text, split_text, missing, outside, writers)


def _integers(cells: pd.Series, name: str, labels: Path | None) -> pd.Series:
    """Whole numbers, or `<NA>` where absent; age groups that are words stay words and are not checked."""
    values = numbers(cells)
    absent = cells == ""
    wrong = ~absent & ~(values % 1 == 0)
    if not wrong.any():
        return values.astype("Int64" if absent.any() else np.int64)
    if name == "Fold":
        row = int(np.argmax(wrong.to_numpy()))
        raise InputError(f"{labels}: row {row + 1} has the fold {cells.iloc[row]!r}, which is not a whole number.")
    return cells


def _resolve(root: Path, files: pd.Series, splits: pd.Series) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Finds each file in the folder itself or in the folder of its split, and never outside."""
    inside = os.path.realpath(root)
    folders = {path.name.lower(): path.name for path in root.iterdir() if path.is_dir()}
    found, missing, outside = [], np.zeros(len(files), bool), np.zeros(len(files), bool)
    for row, (file, split) in enumerate(zip(files, splits, strict=True)):
        name = PurePosixPath(file.replace("\\", "/"))
        if _escapes(file, name):
            outside[row] = True
            found.append(str(name))
            continue
        near = [folders.get(split.lower()), folders.get(SPLITS.get(split.lower(), ""))] if split else []
        candidates = [name, *(PurePosixPath(folder) / name for folder in near if folder)]
        there = [path for path in candidates if file and (root / path).is_file()]
        path = there[0] if there else candidates[-1]
        missing[row] = not there
        if there and os.path.commonpath([inside, os.path.realpath(root / path)]) != inside:
            outside[row] = True
        found.append(str(path) if file else "")
    return found, missing, outside


def _escapes(file: str, name: PurePosixPath) -> bool:
    windows = PureWindowsPath(file)
    return name.is_absolute() or bool(windows.drive) or ".." in name.parts or "\0" in file


def _find_labels(folder: Path) -> Path | None:
    tables = sorted(p for p in folder.iterdir() if p.suffix.lower() in TABLES and p.is_file() and not is_stray(p.name))
    known = [path for path in tables if path.stem.lower() in KNOWN_LABELS]
    tables = known or tables
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise InputError(f"{folder} has more than one table ({names}): choose the labels by --labels.")
    return tables[0] if tables else None


def images_below(root: Path) -> list[str]:
    pages = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not is_stray(name))
        pages += [Path(folder, file) for file in files if Path(file).suffix.lower() in IMAGES and not is_stray(file)]
    if not pages:
        raise InputError(f"{root} has neither a labels file (labels.csv) nor a page ({', '.join(IMAGES)}).")
    return sorted(page.relative_to(root).as_posix() for page in pages)


def is_stray(name: str) -> bool:
    """What file managers and archivers leave behind."""
    return name.startswith((".", "~$")) or name.lower() in ("__macosx", "desktop.ini", "thumbs.db")
