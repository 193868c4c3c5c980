"""Tables as people have them: the names that columns go by, what HHD's file names say, and the one file reader."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd

from age_keras.config.columns import ColumnNames
from age_keras.errors import InputError

TABLES = (".csv", ".tsv", ".xlsx", ".parquet")

# Standard name -> the names a column goes by: lower case, without spaces, dots, dashes and underscores.
NAMES = {
    "ImageID": ("imageid", "image", "imagepath", "file", "filename", "filepath", "path", "page", "pageid"),
    "TrueAge": ("trueage", "age", "ages", "ageyears", "true", "truth", "ytrue", "target", "actual", "actualage"),
    "Prediction": ("prediction", "predicted", "pred", "ypred", "predictedage", "predage", "estimate"),
    "Model": ("model", "modelname"),
    "Fold": ("fold", "publishedfold", "cvfold"),
    "Writer": ("writer", "writerid", "writernumber", "subject", "subjectid", "author", "authorid"),
    "Split": ("split", "set", "subset", "partition"),
    "Lower": ("lower", "lowerbound"),
    "Upper": ("upper", "upperbound"),
    "Sex": ("sex", "gender"),
    "Hand": ("hand", "handedness"),
    "Source": ("source",),
    "AgeGroup": ("agegroup",),
}
# What `ColumnNames` calls them.
_FIELDS = {
    "file": "ImageID",
    "age": "TrueAge",
    "writer": "Writer",
    "split": "Split",
    "age_group": "AgeGroup",
    "fold": "Fold",
    "sex": "Sex",
    "hand": "Hand",
    "source": "Source",
}
# The words that splits go by.
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_ABSENT = {"", "na", "n/a", "#n/a", "nan", "none", "null", "<na>", "nat"}
_HHD_NAME = re.compile(r"w(\d+)_(F|M|NA)_([1-4])_", re.IGNORECASE)


class HHDName(NamedTuple):
    """What the name of an HHD page says: `w11_F_2_form1.tif` is of writer 11, a woman, in the age group 2.

    Attributes:
        writer: number of the writer, without leading zeros.
        sex: `F`, `M`, or empty where it is not known.
        age_group: `1` to `4`.
    """

    writer: str
    sex: str
    age_group: str


def hhd_names(pages: pd.Series) -> list[HHDName] | None:
    """What the names of pages say, one by one; None unless all of them are HHD names."""
    found = [_HHD_NAME.match(PurePosixPath(page.replace("\\", "/")).name) for page in pages]
    matched = [m for m in found if m]
    if not found or len(matched) < len(found):
        return None
    return [HHDName(str(int(m[1])), m[2].upper().replace("NA", ""), m[3]) for m in matched]


def read_table(
    path: str | Path, columns: ColumnNames | None = None, required: Sequence[str] = ("ImageID", "TrueAge")
) -> pd.DataFrame:
    """Reads a table with every cell as text, and gives the columns that are known by a usual name their standard name.

    Args:
        path: A `.csv`, `.tsv` or `.txt` file (UTF-8; separated by commas, semicolons or tabs), an `.xlsx` file (its
            first sheet) or a `.parquet` file.
        columns: Which column is what; several that could be the same are an error then. Defaults to the usual names,
            of which the standard one wins.
        required: Standard names of the columns that must be there.

    Returns:
        The table, str; an absent cell is empty. Columns without a name and rows without a cell are left out.

    Raises:
        InputError: The file cannot be read or has no rows, a row is longer than the header, a column that is required
            or was asked for is not there, or two columns have the same name or the same meaning.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if kind not in (*TABLES, ".txt"):
        raise InputError(f"{path} is not a table that can be read: give a csv, tsv, xlsx or parquet file.")
    try:
        if kind == ".parquet":
            table = pd.read_parquet(path)
        elif kind == ".xlsx":
            table = _read_sheet(path)
        else:
            table = _read_text(path)
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text: save it as UTF-8 csv.") from None
    except InputError:
        raise
    except Exception as error:  # Each reader has its own errors for a damaged file.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as a {kind[1:]} table: {reason}") from error
    names = [str(name).strip() for name in table.columns]
    if twice := [name for i, name in enumerate(names) if name in names[:i] and _has_name(name)]:
        raise InputError(f"{path} has more than one column {twice[0]!r}: rename one.")
    cells = {name: _column(table.iloc[:, i]) for i, name in enumerate(names) if _has_name(name)}
    table = pd.DataFrame(cells, dtype="str")
    table = table[(table != "").any(axis=1)].reset_index(drop=True)
    if table.empty:
        raise InputError(f"{path} has no rows.")
    return _standard_names(table, columns, required, path)


def usual_meaning(name: str) -> str | None:
    """The standard name of what a column of this name usually holds; None where it is not known."""
    plain = re.sub(r"[\s._\-]+", "", name).lower()
    return next((standard for standard, names in NAMES.items() if plain in names), None)


def numbers(cells: pd.Series) -> pd.Series:
    """Text as float64; a decimal comma counts as a point, and what is no number is NaN."""
    points = cells.str.replace(r"^([-+]?\d+),(\d+)$", r"\1.\2", regex=True)
    return pd.to_numeric(points, errors="coerce").astype(np.float64)


def number_column(table: pd.DataFrame, column: str, path: Path, missing: bool = False) -> pd.Series:
    """A column as float64; a word, an infinite or (unless `missing`) absent number is an error that names the row."""
    cells = table[column]
    values = numbers(cells)
    bad = ~np.isfinite(values) & ~((cells == "") & missing)
    if bad.any():
        at = int(np.argmax(bad.to_numpy()))
        page = f" (page {table['ImageID'].iloc[at]})" if "ImageID" in table else ""
        found = repr(cells.iloc[at]) if cells.iloc[at] else "no value"
        more = f" So have {int(bad.sum()) - 1} more rows." if bad.sum() > 1 else ""
        raise InputError(f"{path}: {column} must be a number; data row {at + 1}{page} has {found}.{more}")
    return values


def text_column(table: pd.DataFrame, column: str, path: Path) -> pd.Series:
    """A column of text in which an absent value is an error."""
    if (absent := table[column] == "").any():
        raise InputError(f"{path}: {column} is empty in data row {int(np.argmax(absent.to_numpy())) + 1}.")
    return table[column]


def _standard_names(
    table: pd.DataFrame, columns: ColumnNames | None, required: Sequence[str], path: Path
) -> pd.DataFrame:
    has = f"it has {', '.join(map(repr, table.columns))}"
    field_of = {standard: field for field, standard in _FIELDS.items()}
    asked = {standard: getattr(columns, field, None) for standard, field in field_of.items()}
    found: dict[str, str] = {}
    for standard, names in NAMES.items():
        name = asked.get(standard)
        flag = f" by --columns.{field_of[standard].replace('_', '-')}" if columns and standard in field_of else ""
        if name:
            if name not in table:
                raise InputError(f"{path} has no column {name!r} (asked for{flag}); {has}.")
            found[name] = standard
        elif name is None:
            fits = [c for c in table if usual_meaning(c) == standard and c not in asked.values()]
            if standard in fits and columns is None:  # A column with the standard name itself wins.
                fits = [standard]
            if len(fits) > 1:
                both, choose = " and ".join(map(repr, fits)), f", or choose{flag}" if flag else ""
                raise InputError(f"{path}: the columns {both} both mean {standard}; remove or rename one{choose}.")
            found |= dict.fromkeys(fits, standard)
        if standard in required and standard not in found.values():
            choose = f" Choose one{flag}." if flag else ""
            raise InputError(f"{path} has no column {standard} ({', '.join(names[1:])}); {has}.{choose}")
    # What was left out on purpose must not come back in under its standard name.
    return table.drop(columns=[c for c in table if c in NAMES and c not in found]).rename(columns=found)


def _read_text(path: Path) -> pd.DataFrame:
    """A text file, strictly: pandas would take a row that is too long (a decimal comma) for an index or cut it off."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        separator = max(",;\t", key=header.count)
        rows = csv.reader(file, delimiter=separator, strict=True)
        names = next(rows, [])
        cells = []
        for row in rows:
            if any(cell.strip() for cell in row[len(names) :]):
                raise InputError(
                    f"{path}: line {rows.line_num} has {len(row)} cells, the header {len(names)}; put a cell that "
                    f"holds a {separator!r} in quotation marks."
                )
            cells.append([*row[: len(names)], *[""] * (len(names) - len(row))])
    return pd.DataFrame(cells, columns=names, dtype=object)


def _read_sheet(path: Path) -> pd.DataFrame:
    """The first sheet; pandas' own header would rename a column that is there twice."""
    sheet = pd.read_excel(path, header=None, dtype=object)
    if sheet.empty:
        return sheet
    return sheet.iloc[1:].set_axis(["" if pd.isna(name) else name for name in sheet.iloc[0]], axis=1)


def _column(cells: pd.Series) -> list[str]:
    """The cells as text. Whole numbers lose a trailing `.0`, with which pandas and spreadsheets save them."""
    texts = ["" if (text := str(cell).strip()).lower() in _ABSENT else text for cell in cells]
    if all(re.fullmatch(r"-?\d+\.0", text) for text in texts if text):
        return [text.removesuffix(".0") for text in texts]
    return texts


def _has_name(name: str) -> bool:
    """Spreadsheets and pandas save columns without a name, such as a table's index."""
    return bool(name) and not re.fullmatch(r"Unnamed: \d+", name)
