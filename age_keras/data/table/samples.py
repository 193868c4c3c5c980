"""The table of pages: every page that can be used, with its age and its writer."""

import dataclasses
import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.config.columns import ColumnNames
from age_keras.data.patches.decode import IMAGES
from age_keras.data.table.content import content_hashes
from age_keras.data.table.gather import Gathered, gather, images_below
from age_keras.data.table.problems import ERROR, WARNING, Problem, find_problems
from age_keras.errors import InputError

__all__ = ["ColumnNames", "Samples", "read_samples", "samples_of"]

log = logging.getLogger("age_keras")


@dataclasses.dataclass(frozen=True)
class Samples:
    """Pages with their labels.

    Args:
        root: the folder that every `ImageID` is relative to.
        table: one row a page: `ImageID` (posix path, unique), `Age` (float64 years, NaN where unknown), `Writer`
            (text; the `ImageID` where writers are unknown), and where the labels have them `Split` (train, val,
            test), `AgeGroup`, `Fold`, `Sex`, `Hand`, `Source` and further columns as they are. Only pixels reach a
            model: the rest of the table is for splitting, scoring and reporting.
        skipped: `(ImageID, reason)` of each page left out.
        warnings: what is doubtful about the table, one sentence each.
    """

    root: Path
    table: pd.DataFrame
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def paths(self) -> list[Path]:
        """The file of each page, in the table's order."""
        return [self.root / name for name in self.table["ImageID"]]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the table and of the content of every page: the same data, wherever the folder stands."""
        digest = hashlib.sha256(self.table.to_csv(index=False).encode())
        digest.update("".join(content_hashes(self.paths)).encode())
        return digest.hexdigest()

    def subset(self, rows: Sequence[int] | np.ndarray) -> "Samples":
        """The pages of some rows (positions or a boolean mask), renumbered from 0."""
        return dataclasses.replace(self, table=self.table.iloc[np.asarray(rows)].reset_index(drop=True))


def read_samples(
    folder: str | Path,
    labels: str | Path | None = None,
    columns: ColumnNames | None = None,
    skip_bad: bool = False,
    require_age: bool = True,
) -> Samples:
    """Reads the table of pages of a folder and makes sure that a run can stand on it.

    Whether a page can be decoded shows when its patches are cut; everything else is checked here.

    Args:
        folder: an HHD-Age folder as unpacked, any folder with a labels file (csv, xlsx, parquet), or, where
            `require_age` is false, a folder of images.
        labels: the labels file. Defaults to `labels.*`, HHD-Age's own, or the only table in the folder.
        columns: which column is what. Defaults to the usual names in any case.
        skip_bad: leave out what has an error, recorded in `Samples.skipped`, instead of stopping. Defaults to False.
        require_age: every page must have an age from 0 to 120. Defaults to True.

    Returns:
        The samples; doubts are in `Samples.warnings` and logged.

    Raises:
        InputError: something is wrong with the folder or with a page; a path in the table leaves the folder.

    Example:
        >>> samples = read_samples("data/hhd_age")
        >>> samples.table[["ImageID", "Age", "Writer"]]
             ImageID   Age Writer
        0  page1.tif   9.0      a
        1  page2.tif  41.0      b
    """
    pages = gather(folder, labels, columns)
    if require_age and pages.labels is None:
        raise InputError(f"{folder} has no labels file: put labels.csv (file, age, writer) there or give --labels.")
    if require_age and (pages.age_text == "").all():
        raise InputError(f"{pages.labels} has no column of ages: give --columns.age.")
    problems = find_problems(pages, pages.hashes(), labelled=require_age)
    return _samples(pages, problems, skip_bad)


def samples_of(paths: Sequence[str | Path]) -> Samples:
    """The pages of some images and folders, without labels, to predict on.

    Args:
        paths: image files, and folders whose images are all taken.

    Raises:
        InputError: a path does not exist, is not an image, or nothing was given.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            files += [path / name for name in images_below(path)]
        elif not path.exists():
            raise InputError(f"There is no page {path}.")
        elif path.suffix.lower() not in IMAGES:
            raise InputError(f"{path} is not a page: use {', '.join(IMAGES)}.")
        else:
            files.append(path)
    files = list(dict.fromkeys(Path(os.path.abspath(file)) for file in files))
    if not files:
        raise InputError("No page was given.")
    root = Path(os.path.commonpath([file.parent for file in files]))
    names = [file.relative_to(root).as_posix() for file in files]
    return Samples(root, pd.DataFrame({"ImageID": names, "Age": np.nan, "Writer": names}))


def _samples(pages: Gathered, problems: list[Problem], skip_bad: bool) -> Samples:
    errors = [problem for problem in problems if problem.severity == ERROR]
    outside = [problem for problem in errors if problem.code == "outside"]
    if outside or (errors and not skip_bad):
        said = "; ".join(problem.brief() for problem in outside or errors)
        hint = (
            "" if outside else f" `age-keras data check {pages.root}` lists all; --skip-bad leaves the bad pages out."
        )
        raise InputError(f"{pages.labels or pages.root}: {said}.{hint}")
    reasons: dict[int, str] = {}
    for problem in errors:
        reasons = problem.reasons | reasons
    kept = ~pages.table.index.isin(reasons)
    if not kept.any():
        raise InputError(
            f"{pages.labels or pages.root}: no page is left: {'; '.join(problem.brief() for problem in errors)}."
        )
    names = pages.table["ImageID"]
    skipped = tuple((names[row] or f"row {row + 1}", reasons[row]) for row in sorted(reasons))
    warnings = tuple(f"{problem.brief()}." for problem in problems if problem.severity == WARNING)
    for warning in warnings:
        log.warning("%s: %s", pages.labels or pages.root, warning)
    if skipped:
        log.warning("%s: %d pages are left out (--skip-bad).", pages.labels or pages.root, len(skipped))
    return Samples(pages.root, pages.table[kept].reset_index(drop=True), skipped, warnings)
