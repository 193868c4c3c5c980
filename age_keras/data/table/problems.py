"""Everything that is wrong with a table of pages, at once."""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np
import pandas as pd

from age_keras.bands import BAND_EDGES, band_index
from age_keras.data.table.gather import Gathered

ERROR, WARNING = "error", "warning"


@dataclasses.dataclass(frozen=True)
class Problem:
    """One kind of problem, with all its cases.

    Args:
        code: its short name, such as `missing`.
        severity: `error` stops a run (or, with `--skip-bad`, leaves pages out); `warning` is said and no more.
        count: number of cases: pages, rows, pictures or writers.
        message: what is wrong, with the number.
        examples: every case, in a few words.
        reasons: of an error, the rows that `--skip-bad` leaves out and why.
    """

    code: str
    severity: str
    count: int
    message: str
    examples: tuple[str, ...]
    reasons: dict[int, str] = dataclasses.field(default_factory=dict)

    def brief(self, most: int = 3) -> str:
        """In one line: the message and the first few cases."""
        if not self.examples:
            return self.message
        more = f" and {len(self.examples) - most} more" if len(self.examples) > most else ""
        return f"{self.message}: {', '.join(self.examples[:most])}{more}"


def find_problems(
    pages: Gathered, hashes: list[str] | None = None, unreadable: dict[int, str] | None = None, labelled: bool = True
) -> list[Problem]:
    """Lists every problem of a table of pages, errors first.

    Args:
        pages: the table.
        hashes: content hash of each page ("" where there is none), to find pages that are the same picture.
        unreadable: rows whose page cannot be decoded, and why.
        labelled: whether ages, writers and splits matter; where they do not (to predict) only files are checked.
            Defaults to True.

    Returns:
        The problems; an empty list if there is none.
    """
    found = itertools.chain(
        _files(pages, unreadable or {}),
        itertools.chain(_ages(pages), _age_groups(pages), _writers(pages), _splits(pages)) if labelled else (),
        _same_content(pages, hashes, labelled) if hashes else (),
    )
    return sorted((problem for problem in found if problem.count), key=lambda problem: problem.severity)


def _files(pages: Gathered, unreadable: dict[int, str]) -> Iterable[Problem]:
    names, table = pages.table["ImageID"], pages.table
    yield _pages(pages, "outside", pages.outside, "lies|lie outside the folder")
    yield _pages(pages, "missing", pages.missing & ~pages.outside, "is|are missing")
    which = np.isin(np.arange(len(table)), list(unreadable))
    yield _pages(pages, "unreadable", which, "cannot|cannot be read", pd.Series(unreadable, dtype=object))
    again = names.duplicated() & (names != "")
    reasons = {}
    for name in names[again].unique():
        rows = table.index[names == name]
        contradict = table.loc[rows, "Age"].nunique() > 1 or table.loc[rows, "Writer"].nunique() > 1
        reason = "is listed twice, with different labels" if contradict else "is listed before"
        reasons |= {int(row): reason for row in (rows if contradict else rows[1:])}
    message = _say(int(again.sum()), "row", "lists|list a page that was listed before")
    yield Problem("duplicate", ERROR, int(again.sum()), message, tuple(names[again].unique()), reasons)


def _ages(pages: Gathered) -> Iterable[Problem]:
    age, text = pages.table["Age"], pages.age_text
    absent = (text == "").to_numpy()
    yield _pages(pages, "age_absent", absent, "has|have no age")
    yield _pages(
        pages, "age_not_a_number", age.isna().to_numpy() & ~absent, "has|have an age that is not a number", text
    )
    yield _pages(pages, "age_outside", ((age < 0) | (age > 120)).to_numpy(), "has|have an age outside 0–120", text)
    known = pages.table[age.notna() & (pages.table["Writer"] != "")]
    distinct = known[["Writer", "Age"]].drop_duplicates()
    distinct = distinct[distinct["Writer"].duplicated(keep=False)]
    several = {writer: sorted(ages) for writer, ages in distinct.groupby("Writer")["Age"]}
    examples = tuple(f"{writer} ({', '.join(f'{age:g}' for age in ages)})" for writer, ages in several.items())
    message = _say(len(several), "writer", "has|have two ages or more (right only if they wrote years apart)")
    yield Problem("writer_two_ages", WARNING, len(several), message, examples)


def _age_groups(pages: Gathered) -> Iterable[Problem]:
    age, group = pages.table["Age"], pages.table.get("AgeGroup")
    if group is None or not pd.api.types.is_integer_dtype(group) or not group.dropna().isin([1, 2, 3, 4]).all():
        return  # somebody else's groups, whose ages are not known here
    expected = 1 + band_index(age.fillna(0), BAND_EDGES)
    wrong = (age.notna() & group.notna() & (group.fillna(0) != expected)).to_numpy(bool)
    shown = "group " + group.astype(str) + ", age " + pages.age_text.astype(str)
    message = "is|are in an age group that contradicts the age (1: up to 15, 2: 16–25, 3: 26–50, 4: over 50)"
    yield _pages(pages, "age_group", wrong, message, shown, WARNING)


def _writers(pages: Gathered) -> Iterable[Problem]:
    if pages.writers == "none":
        message = "there is no writer column: each page counts as a writer of its own, so that pages of one person can "
        yield Problem("no_writer_column", WARNING, 1, message + "be trained on and tested on", ())
    yield _pages(pages, "writer_absent", (pages.table["Writer"] == "").to_numpy(), "has|have no writer")


def _splits(pages: Gathered) -> Iterable[Problem]:
    if "Split" not in pages.table:
        return
    split, shown = pages.table["Split"], pages.split_text.replace("", "none")
    yield _pages(pages, "split_unknown", (split == "").to_numpy(), "is|are in no split (train, val, test)", shown)
    examples, reasons = [], {}
    known = pages.table.loc[(split != "") & (pages.table["Writer"] != ""), ["Writer", "Split"]]
    moved = known.drop_duplicates().loc[lambda pairs: pairs["Writer"].duplicated(keep=False), "Writer"]
    for writer, theirs in known[known["Writer"].isin(moved)].groupby("Writer")["Split"]:
        counts = theirs.value_counts()
        home = next(name for name in ("train", "val", "test") if counts.get(name, 0) == counts.max())
        examples.append(f"{writer} ({', '.join(name for name in ('train', 'val', 'test') if name in counts)})")
        reasons |= {int(row): f"its writer {writer} is in {home} too" for row in theirs.index[theirs != home]}
    message = _say(len(examples), "writer", "is|are in two splits or more, so that the test is not on unseen writers")
    yield Problem("writer_two_splits", ERROR, len(examples), message, tuple(examples), reasons)


def _same_content(pages: Gathered, hashes: list[str], labelled: bool) -> Iterable[Problem]:
    content = pd.Series(hashes)
    content = content[(content != "") & content.duplicated(keep=False)]
    within, across, reasons = [], [], {}
    for _, rows in content.groupby(content).groups.items():
        same = pages.table.loc[rows]
        names = same["ImageID"].unique()
        if len(names) < 2:
            continue
        ages, shown = same["Age"].dropna().nunique(), " = ".join(names)
        if not labelled or (ages < 2 and same["Writer"].nunique() < 2):
            within.append(shown)
            continue
        across.append(shown)
        for row in same.index if ages > 1 else same.index[same["ImageID"] != names[0]]:
            reasons[int(row)] = f"is the same picture as a page of another {'age' if ages > 1 else 'writer'}"
    message = _say(len(across), "picture", "is|are listed under more than one writer or age")
    yield Problem("duplicate_content_labels", ERROR, len(across), message, tuple(across), reasons)
    message = _say(len(within), "picture", "is|are there more than once and will count more than once")
    yield Problem("duplicate_content", WARNING, len(within), message, tuple(within))


def _pages(pages: Gathered, code: str, which, text: str, shown=None, severity: str = ERROR) -> Problem:
    """A problem of single pages; `shown` holds what to say of each in its example."""
    rows = [int(row) for row in np.flatnonzero(which)]
    names = {row: pages.table["ImageID"][row] or f"row {row + 1}" for row in rows}
    examples = tuple(name if shown is None else f"{name} ({shown[row]})" for row, name in names.items())
    reason = text.replace("|", " ").split(" ", 1)[0] + " " + text.split("|", 1)[1].split(" ", 1)[1]
    detail = {row: "" if shown is None else f": {shown[row]}" for row in rows}
    reasons = {row: reason + detail[row] for row in rows} if severity == ERROR else {}
    return Problem(code, severity, len(rows), _say(len(rows), "page", text), examples, reasons)


def _say(count: int, noun: str, text: str) -> str:
    """`3 pages are missing` from 3, `page`, `is|are missing`."""
    one, rest = text.split("|", 1)
    many, rest = rest.split(" ", 1)
    return f"1 {noun} {one} {rest}" if count == 1 else f"{count} {noun}s {many} {rest}"
