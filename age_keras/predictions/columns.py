"""Tables as people have them: csv, tsv, xlsx or parquet, with the usual names for the same columns."""

from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.errors import InputError

# Compared in lower case, without spaces, dots, dashes and underscores.
USUAL_NAMES = {
    "ImageID": ("imageid", "image", "file", "filename", "path", "page", "pageid"),
    "TrueAge": ("trueage", "age", "true", "truth", "ytrue", "target", "actual", "actualage"),
    "Prediction": ("prediction", "predicted", "pred", "ypred", "predictedage", "predage", "estimate"),
    "Model": ("model", "modelname"),
    "Fold": ("fold", "publishedfold", "cvfold"),
    "Writer": ("writer", "writerid", "writernumber"),
    "Split": ("split", "set"),
    "Lower": ("lower", "lowerbound"),
    "Upper": ("upper", "upperbound"),
    "Sex": ("sex", "gender"),
    "Hand": ("hand", "handedness"),
    "Source": ("source",),
    "AgeGroup": ("agegroup",),
}


def read_table(path: str | Path) -> pd.DataFrame:
    """Reads a table and gives the columns that are known by a usual name their standard name.

    Args:
        path: a `.csv`, `.tsv`, `.txt`, `.xlsx` or `.parquet` file. Text may be separated by commas, semicolons or tabs.

    Raises:
        InputError: no such file, another format, nothing in it, or two columns with the same meaning.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    try:
        if path.suffix.lower() in (".csv", ".tsv", ".txt"):
            table = _read_text(path)
        elif path.suffix.lower() == ".xlsx":
            table = pd.read_excel(path)
        elif path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
        else:
            raise InputError(f"{path} is not a table that can be read: give a csv, tsv, xlsx or parquet file.")
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty.") from None
    except InputError:
        raise
    except Exception as error:  # Each reader has its own errors for a broken file.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read as a table: {reason}") from error
    if table.empty:
        raise InputError(f"{path} has no rows.")
    return _standard_names(table, path)


def number_column(table: pd.DataFrame, column: str, path: Path, missing: bool = False) -> pd.Series:
    """A column as float64; a word, an infinite or (unless `missing`) absent number is an error that names the row."""
    values = table[column]
    numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    bad = ~np.isfinite(numbers) & ~(values.isna() & missing)
    if bad.any():
        at = int(np.argmax(bad.to_numpy()))
        page = f" (page {table['ImageID'].iloc[at]})" if "ImageID" in table else ""
        value = values.iloc[at]
        found = "no value" if pd.isna(value) else f"{value!r}" if isinstance(value, str) else str(value)
        more = f" So have {int(bad.sum()) - 1} more rows." if bad.sum() > 1 else ""
        raise InputError(f"{path}: {column} must be a number; data row {at + 1}{page} has {found}.{more}")
    return numbers


def text_column(table: pd.DataFrame, column: str, path: Path | None = None) -> pd.Series:
    """A column as text; whole numbers lose a trailing `.0`. With `path`, an absent value is an error."""
    values = table[column]
    if path is not None and values.isna().any():
        at = int(np.argmax(values.isna().to_numpy()))
        raise InputError(f"{path}: {column} is empty in data row {at + 1}.")
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")
    return values.astype(str).str.strip()


def _read_text(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline()
    if "\t" in header:
        return pd.read_csv(path, sep="\t", encoding="utf-8-sig")
    if ";" in header and "," not in header:
        return pd.read_csv(path, sep=";", decimal=",", encoding="utf-8-sig")
    return pd.read_csv(path, encoding="utf-8-sig")


def _standard_names(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    meaning = {name: standard for standard, names in USUAL_NAMES.items() for name in names}
    renamed: dict = {}
    for column in table.columns:
        plain = "".join(c for c in str(column).lower() if c not in " ._-")
        standard = meaning.get(plain)
        if standard is None or column == standard:
            continue
        if standard in table.columns:  # A column with the standard name itself wins.
            continue
        if standard in renamed.values():
            other = next(c for c, s in renamed.items() if s == standard)
            raise InputError(f"{path}: the columns {other} and {column} both mean {standard}; remove or rename one.")
        renamed[column] = standard
    return table.rename(columns=renamed)
