"""Which column of a labels table means what, and reading such a table: csv, tsv, xlsx or parquet."""

import csv
import dataclasses
import re
from pathlib import Path

import pandas as pd

from age_keras.config.columns import ColumnNames
from age_keras.errors import InputError

TABLES = (".csv", ".tsv", ".xlsx", ".parquet")

# Canonical name -> the names it goes by, lower case, without spaces, dashes and underscores.
USUAL = {
    "file": ("file", "image", "path", "filename", "imageid", "imagepath", "filepath", "page"),
    "age": ("age", "ages", "ageyears", "trueage"),
    "writer": ("writer", "writernumber", "writerid", "subject", "subjectid", "author", "authorid"),
    "split": ("split", "set", "subset", "partition"),
    "age_group": ("agegroup",),
    "fold": ("fold", "publishedfold"),
    "sex": ("sex", "gender"),
    "hand": ("hand", "handedness"),
    "source": ("source",),
}
CANONICAL = {
    "file": "File",
    "age": "Age",
    "writer": "Writer",
    "split": "Split",
    "age_group": "AgeGroup",
    "fold": "Fold",
    "sex": "Sex",
    "hand": "Hand",
    "source": "Source",
}
_ABSENT = {"", "na", "n/a", "nan", "none", "null", "<na>", "nat"}


def read_table(path: str | Path) -> pd.DataFrame:
    """Reads a table with every cell as text; an absent cell is the empty string.

    Args:
        path: a `.csv` or `.tsv` (UTF-8; comma, semicolon or tab), `.xlsx` (first sheet) or `.parquet` file.

    Returns:
        The table, its column names stripped of blanks.

    Raises:
        InputError: the file cannot be read, has no rows, or names a column twice.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no labels file {path}.")
    kind = path.suffix.lower()
    if kind not in TABLES:
        raise InputError(f"{path} is not a labels file: use {', '.join(TABLES)}.")
    try:
        if kind == ".parquet":
            table = pd.read_parquet(path)
        elif kind == ".xlsx":
            table = pd.read_excel(path, dtype=object)
        else:
            table = _read_text(path)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8 csv.") from None
    except Exception as error:  # each reader has its own errors for a damaged file
        raise InputError(f"{path} cannot be read as a {kind[1:]} table: {error}") from error
    names = [str(name).strip() for name in table.columns]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise InputError(f"{path} has more than one column {twice[0]!r}: rename one.")
    cells = {name: [_text(cell) for cell in table.iloc[:, i]] for i, name in enumerate(names) if _named(name)}
    table = pd.DataFrame(cells, dtype=object)
    table = table[(table != "").any(axis=1)].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{path} has no rows.")
    return table


def canonical(table: pd.DataFrame, columns: ColumnNames, path: Path) -> pd.DataFrame:
    """Renames the columns that are known to their canonical names; the others pass through.

    Raises:
        InputError: a column asked for is not there, or two columns could be the same thing.
    """
    found = {}
    for field, names in USUAL.items():
        asked = getattr(columns, field)
        if asked == "":
            continue
        if asked is not None:
            if asked not in table.columns:
                known = ", ".join(map(repr, table.columns))
                raise InputError(f"{path} has no column {asked!r} (asked for as {field}); it has {known}.")
            found[asked] = CANONICAL[field]
            continue
        taken = {name for name in dataclasses.asdict(columns).values() if name}
        fits = [name for name in table.columns if _squeeze(name) in names and name not in taken]
        if len(fits) > 1:
            both = " and ".join(map(repr, fits))
            flag = f"--{field.replace('_', '-')}-column"
            raise InputError(
                f"{path}: the columns {both} could each be the {field.replace('_', ' ')}: choose by {flag}."
            )
        if fits:
            found[fits[0]] = CANONICAL[field]
    if "File" not in found.values():
        known = ", ".join(map(repr, table.columns))
        raise InputError(
            f"{path} has no column of files (File, image, path, filename): give --file-column, one of {known}."
        )
    # What was left out on purpose must not come back in under its canonical name.
    clash = [name for name in table.columns if name not in found and name in (*CANONICAL.values(), "ImageID")]
    return table.drop(columns=clash).rename(columns=found)


def _read_text(path: Path) -> pd.DataFrame:
    """A csv, strictly: pandas would take a row that is too long (a decimal comma) for an index or cut it off."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        rows = csv.reader(file, delimiter=max(",;\t", key=header.count), strict=True)
        names = next(rows, [])
        cells = []
        for row in rows:
            if any(cell.strip() for cell in row[len(names) :]):
                raise ValueError(f"line {rows.line_num} has {len(row)} cells, the header {len(names)}")
            cells.append([*row[: len(names)], *[""] * (len(names) - len(row))])
    return pd.DataFrame(cells, columns=names, dtype=object)


def _named(name: str) -> bool:
    """Whether a column has a name: spreadsheets and pandas save nameless ones."""
    return bool(name) and not re.fullmatch(r"Unnamed: \d+", name)


def _text(cell) -> str:
    """A cell as text: whole numbers without a point (spreadsheets keep 11 as 11.0), nothing as ''."""
    if cell is None or cell is pd.NA or (isinstance(cell, float) and cell != cell):
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    text = str(cell).strip()
    return "" if text.lower() in _ABSENT else text


def _squeeze(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).lower()
