"""Everything that is wrong with a table of pages, at once."""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd

from age_keras.data.gather import Gathered

ERROR, WARNING = "error", "warning"
BANDS = (15, 25, 50)  # last age of HHD-Age's groups 1 to 3; group 4 is over 50


@dataclasses.dataclass(frozen=True)
class Problem:
    """One kind of problem, with all its cases.

    Args:
        code: its short name, such as `missing`.
        severity: `error` stops a run (or, with `--skip-bad`, leaves pages out); `warning` is said and no more.
        count: number of cases, in pages or in writers.
        message: one sentence: what is wrong and what follows.
        examples: every case, in a few words.
        reasons: for an error, the rows that `--skip-bad` leaves out and why.
    """

    code: str
    severity: str
    count: int
    message: str
    examples: tuple[str, ...]
    reasons: dict[int, str] = dataclasses.field(default_factory=dict)


def find_problems(
    gathered: Gathered, hashes: list[str] | None = None, unreadable: dict[int, str] | None = None, ages: bool = True
) -> list[Problem]:
    """Lists every problem of a table of pages, errors first.

    Args:
        gathered: the table.
        hashes: content hash of each page ("" where there is none), to find pages that are the same.
        unreadable: rows whose page cannot be decoded, and why.
        ages: every page must have an age from 0 to 120.

    Returns:
        The problems; none if the list is empty.
    """
    found = itertools.chain(
        _files(gathered, unreadable or {}),
        _ages(gathered) if ages else (),
        _writers(gathered),
        _splits(gathered),
        _same_content(gathered, hashes) if hashes else (),
    )
    return sorted((problem for problem in found if problem.count), key=lambda problem: problem.severity)


def _files(pages: Gathered, unreadable: dict[int, str]) -> Iterable[Problem]:
    names = pages.table["ImageID"]
    where = "" if pages.labels is None else f" named in {pages.labels.name}"
    yield _rows(pages, "outside", pages.outside, f"{{}} lie outside {pages.root}", "lies outside the folder")
    yield _rows(pages, "missing", pages.missing & ~pages.outside, f"{{}}{where} are missing", "is missing")
    examples = tuple(f"{names[row]} ({reason})" for row, reason in unreadable.items())
    reasons = {row: f"cannot be read: {reason}" for row, reason in unreadable.items()}
    yield Problem("unreadable", ERROR, len(examples), f"{_pages(len(examples))} cannot be read", examples, reasons)
    again = (names.duplicated() & (names != "")).to_numpy()
    reasons = {}
    for row in np.flatnonzero(again):
        reasons[int(row)] = "is listed again"
        same = names == names[row]
        if pages.table.loc[same, "Age"].nunique() > 1 or pages.table.loc[same, "Writer"].nunique() > 1:
            reasons |= {int(i): "is listed with different labels" for i in np.flatnonzero(same)}
    listed = tuple(dict.fromkeys(names[again]))
    message = f"{_pages(again.sum(), 'row')} list a page again"
    yield Problem("duplicate", ERROR, int(again.sum()), message, listed, reasons)


def _ages(pages: Gathered) -> Iterable[Problem]:
    age, text = pages.table["Age"], pages.age_text
    absent = (text == "").to_numpy()
    yield _rows(pages, "age_absent", absent, "{} have no age", "has no age")
    words = age.isna().to_numpy() & ~absent
    yield _rows(pages, "age_not_a_number", words, "{} have an age that is not a number", "age is not a number", text)
    outside = ((age < 0) | (age > 120)).to_numpy()
    yield _rows(pages, "age_outside", outside, "{} have an age outside 0–120", "age is outside 0–120", text)
    if "AgeGroup" in pages.table and pd.api.types.is_integer_dtype(pages.table["AgeGroup"]):
        group = pages.table["AgeGroup"]
        if group.isin([1, 2, 3, 4]).all():
            expected = 1 + np.searchsorted(BANDS, np.ceil(age.fillna(0)))
            wrong = (age.notna() & (group != expected)).to_numpy()
            shown = "group " + group.astype(str) + ", age " + text.astype(str)
            message = "{} are in an age group that contradicts their age (1: to 15, 2: 16–25, 3: 26–50, 4: over 50)"
            yield _rows(pages, "age_group", wrong, message, "", shown, WARNING)
    numbered = pages.table[age.notna() & (pages.table["Writer"] != "")]
    several = numbered.groupby("Writer")["Age"].unique()
    several = several[several.map(len) > 1]
    examples = tuple(f"{writer} ({', '.join(f'{a:g}' for a in sorted(each))})" for writer, each in several.items())
    message = f"{_pages(len(examples), 'writer')} have more than one age: right if they wrote years apart"
    yield Problem("writer_two_ages", WARNING, len(examples), message, examples)


def _writers(pages: Gathered) -> Iterable[Problem]:
    if pages.writers == "none":
        message = "there is no writer column: every page counts as a writer of its own, so pages of one writer can get"
        yield Problem("no_writer_column", WARNING, 1, f"{message} into training and test alike", ())
    absent = (pages.table["Writer"] == "").to_numpy()
    yield _rows(pages, "writer_absent", absent, "{} have no writer", "has no writer")


def _splits(pages: Gathered) -> Iterable[Problem]:
    if "Split" not in pages.table:
        return
    split, shown = pages.table["Split"], pages.split_text.replace("", "absent")
    message = "{} are in no split (train, val or test)"
    yield _rows(pages, "split_unknown", (split == "").to_numpy(), message, "is in no split", shown)
    known = pages.table[(split != "") & (pages.table["Writer"] != "")]
    examples, reasons = [], {}
    for writer, theirs in known.groupby("Writer")["Split"]:
        counts = theirs.value_counts()
        if len(counts) > 1:
            home = max(("train", "val", "test"), key=lambda name: counts.get(name, 0))
            examples.append(f"{writer} ({', '.join(sorted(counts.index))})")
            reasons |= {int(row): f"its writer {writer} is in {home} too" for row in theirs.index[theirs != home]}
    message = f"{_pages(len(examples), 'writer')} are in more than one split: the test would not be of unseen writers"
    yield Problem("writer_two_splits", ERROR, len(examples), message, tuple(examples), reasons)


def _same_content(pages: Gathered, hashes: list[str]) -> Iterable[Problem]:
    content = pd.Series(hashes)[lambda h: h != ""]
    table, within, across, reasons = pages.table, [], [], {}
    for _, rows in content.groupby(content).groups.items():
        same = table.loc[rows].drop_duplicates("ImageID")
        if len(same) < 2:
            continue
        ages, shown = same["Age"].dropna().nunique(), " = ".join(same["ImageID"])
        if ages < 2 and same["Writer"].nunique() < 2:
            within.append(shown)
            continue
        across.append(shown)
        for row in same.index[0 if ages > 1 else 1 :]:
            reasons[int(row)] = f"is the same picture as a page with another {'age' if ages > 1 else 'writer'}"
    message = f"{_pages(len(across), 'picture')} stand under more than one writer or age: at most one can be right"
    yield Problem("duplicate_content_labels", ERROR, len(across), message, tuple(across), reasons)
    message = f"{_pages(len(within), 'picture')} of one writer occur more than once and count more than once"
    yield Problem("duplicate_content", WARNING, len(within), message, tuple(within))


def _rows(pages, code, which, message, reason, shown=None, severity=ERROR) -> Problem:
    rows = [int(row) for row in np.flatnonzero(which)]
    names = [pages.table["ImageID"][row] or f"row {row + 2}" for row in rows]
    examples = tuple(names if shown is None else [f"{n} ({shown[r]})" for n, r in zip(names, rows, strict=True)])
    reasons = dict.fromkeys(rows, reason) if severity == ERROR else {}
    return Problem(code, severity, len(rows), message.format(_pages(len(rows))), examples, reasons)


def _pages(count: int, word: str = "page") -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
