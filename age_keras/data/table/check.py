"""Decodes every page of a folder and lists all that is wrong with it: `age-keras data check`."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from age_keras.config.columns import ColumnNames
from age_keras.data.patches.builder import pages_at_a_time
from age_keras.data.patches.decode import decode_page
from age_keras.data.table.gather import Gathered, gather
from age_keras.data.table.problems import ERROR, Problem, find_problems
from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class FolderCheck:
    """What was found.

    Args:
        pages: the table as found.
        problems: all problems, errors first.
    """

    pages: Gathered
    problems: list[Problem]

    @property
    def errors(self) -> int:
        """Number of kinds of errors."""
        return sum(problem.severity == ERROR for problem in self.problems)

    def to_dict(self) -> dict:
        """For JSON: `folder`, `labels`, `pages`, `writers`, `ages`, `ok`, `errors`, `warnings`, `problems`."""
        table, age = self.pages.table, self.pages.table["Age"].dropna()
        return {
            "folder": str(self.pages.root),
            "labels": None if self.pages.labels is None else str(self.pages.labels),
            "pages": len(table),
            "writers": None if self.pages.writers == "none" else int(table["Writer"].replace("", np.nan).nunique()),
            "splits": table["Split"].value_counts().to_dict() if "Split" in table else None,
            "ages": {"min": age.min(), "median": age.median(), "max": age.max()} if len(age) else None,
            "ok": self.errors == 0,
            "errors": self.errors,
            "warnings": len(self.problems) - self.errors,
            "problems": [
                {
                    "code": problem.code,
                    "severity": problem.severity,
                    "count": problem.count,
                    "message": problem.message,
                    "examples": list(problem.examples),
                }
                for problem in self.problems
            ],
        }

    def to_text(self, most: int = 3) -> str:
        """For reading; with the first `most` cases of each problem."""
        facts = self.to_dict()
        writers = "" if facts["writers"] is None else f" of {_count(facts['writers'], 'writer')}"
        lines = [f"{facts['labels'] or facts['folder']}: {_count(facts['pages'], 'page')}{writers}"]
        if ages := facts["ages"]:
            lines[0] += f", aged {ages['min']:g} to {ages['max']:g} (median {ages['median']:g})"
        if splits := facts["splits"]:
            lines[0] += ", " + " / ".join(
                f"{splits[name]} {name}" for name in ("train", "val", "test") if name in splits
            )
        if facts["labels"] is None:
            lines.append("No labels file: these pages can be predicted on, not trained on.")
        lines += [f"{problem.severity:<8} {problem.brief(most)}" for problem in self.problems]
        if self.errors:
            lines.append("Errors stop a run; with --skip-bad it leaves these pages out and records each.")
        elif not self.problems:
            lines.append("Nothing is wrong.")
        return "\n".join(lines)


def check_folder(
    folder: str | Path,
    labels: str | Path | None = None,
    columns: ColumnNames | None = None,
    labels_only: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> FolderCheck:
    """Reads the labels of a folder, decodes every page, and lists all problems.

    Args:
        folder: the folder of the pages.
        labels: the labels file. Defaults to the one found in the folder.
        columns: which column is what. Defaults to the usual names.
        labels_only: check the table alone, as where the pages are elsewhere. Defaults to False.
        workers: pages decoded at a time. Defaults to the number of processors, at most 8.
        progress: show a progress bar. Defaults to True.

    Raises:
        InputError: there is no such folder, or its labels cannot be read at all.
    """
    pages = gather(folder, labels, columns)
    if labels_only:
        nothing = np.zeros(len(pages.table), bool)
        if pages.labels is None:
            raise InputError(f"{folder} has no labels file: give --labels.")
        return FolderCheck(pages, find_problems(dataclasses.replace(pages, missing=nothing)))
    hashes = pages.hashes()
    rows = [row for row, digest in enumerate(hashes) if digest]
    present = np.flatnonzero(~pages.missing & ~pages.outside)
    unreadable = {int(row): "no permission" for row in present if not hashes[row]}

    def reason(row: int) -> str | None:
        path = pages.root / pages.table["ImageID"][row]
        try:
            decode_page(path)
        except InputError as error:
            return str(error).removeprefix(f"{path} ").rstrip(".")
        return None

    with ThreadPoolExecutor(workers or pages_at_a_time()) as pool:
        results = tqdm(
            pool.map(reason, rows), total=len(rows), desc="Decoding pages", unit="page", disable=not progress
        )
        unreadable |= {row: said for row, said in zip(rows, results, strict=True) if said}
    return FolderCheck(pages, find_problems(pages, hashes, unreadable, labelled=pages.labels is not None))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
