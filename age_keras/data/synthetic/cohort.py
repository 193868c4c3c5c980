"""A synthetic cohort of handwritten pages in HHD-Age's layout, for a first run without any data.

The pages are Hebrew-like handwriting drawn from strokes (`hebrew_strokes.py`) by synthetic writers
(`writer.py`) on scanned paper (`page.py`). The folder looks like HHD-Age unpacked: `train/ val/
test/` with names such as `w11_F_2_form1.tif`, and `AgeAnnotations_and_Split.csv`. Writers are disjoint between the
splits, whose fractions of pages are HHD's 648 : 118 : 116; most writers have one page, and, as in HHD, the writers with
many are in the training split. Beside them lies `synthetic.json`, by which every report can say that its pages are
synthetic (`is_synthetic`).
"""

import csv
import io
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from age_keras.data.synthetic.writer import DPI, age_at, age_group, draw_style
from age_keras.errors import InputError
from age_keras.files import atomic_write, write_json

LABELS = "AgeAnnotations_and_Split.csv"
MARKER = "synthetic.json"
VERSION = 1  # Of the drawing: two cohorts of one version, seed and number of writers are equal byte for byte.
FEWEST_WRITERS, MOST_WRITERS = 5, 20_000

_HELD_OUT_FRACTION = {"test": 116 / 882, "val": 118 / 882}
_FORMS = 50
_MOST_PAGES = 10
# Streams of random numbers: one each for what must not depend on the others.
_COHORT, _SEX, _STYLE, _PAGE, _SPLIT = range(5)


@dataclass(frozen=True)
class PlannedPage:
    """One page to be drawn."""

    writer: int  # from 1
    age: int  # years
    sex: str  # "F" or "M"; it has no effect on the page
    form: int
    split: str  # "train", "val" or "test"

    @property
    def name(self) -> str:
        """HHD's name of the page, e.g. `w11_F_2_form1.tif`."""
        return f"w{self.writer}_{self.sex}_{age_group(self.age)}_form{self.form}.tif"


def synthesize(
    folder: str | Path, writers: int = 120, seed: int = 0, progress: bool = True, workers: int | None = None
) -> Path:
    """Draws a cohort into a folder, which appears only when all pages are there.

    A repeated call resumes an interrupted one. The pages of a writer depend on the seed and the writer's number only:
    a larger cohort of the same seed has the same writers and more, though others may be held out.

    Args:
        folder: The folder to write. Nothing is done if it holds this very cohort already.
        writers: Number of writers, 5 to 20,000; 120 write about 190 pages. Defaults to 120.
        seed: Seed of all random numbers; not negative. Defaults to 0.
        progress: Whether to show a progress bar on stderr. Defaults to True.
        workers: Number of processes that draw; the pages do not depend on it. Defaults to one for each processor.

    Returns:
        The folder.

    Raises:
        InputError: A setting is out of range, or the folder holds something else.
    """
    if not FEWEST_WRITERS <= writers <= MOST_WRITERS:
        raise InputError(f"writers must be {FEWEST_WRITERS} to {MOST_WRITERS}. Received: writers={writers}")
    if seed < 0:
        raise InputError(f"seed must not be negative. Received: seed={seed}")
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1. Received: workers={workers}")
    folder = Path(folder)
    pages = plan(writers, seed)
    settings = {"synthetic": True, "version": VERSION, "writers": writers, "seed": seed, "pages": len(pages)}
    if _is_finished(folder, settings, pages):
        print(f"{folder} already holds this cohort ({writers} writers, seed {seed}): nothing to do.", file=sys.stderr)
        return folder

    unfinished = folder.absolute().parent / f".{folder.absolute().name}.unfinished"
    if unfinished.exists() and _read_marker(unfinished) != settings:
        shutil.rmtree(unfinished)
    for split in ("train", "val", "test"):
        (unfinished / split).mkdir(parents=True, exist_ok=True)
    write_json(unfinished / MARKER, settings)
    _write_labels(unfinished / LABELS, pages)
    _draw_all(unfinished, pages, seed, progress, workers)
    if folder.is_dir():
        folder.rmdir()  # It is empty, or `_is_finished` would have complained.
    os.replace(unfinished, folder)
    return folder


def is_synthetic(folder: str | Path) -> bool:
    """Whether the pages in a folder were drawn by `synthesize`."""
    marker = _read_marker(Path(folder))
    return marker is not None and marker.get("synthetic") is True


def plan(writers: int, seed: int) -> list[PlannedPage]:
    """Who writes how many pages, and where they go: all of a cohort but the pixels, in order of writer and form."""
    # Ages and page counts follow an additive recurrence (Roberts 2018, "R2"), which covers both distributions evenly
    # for any number of writers, without a writer's age depending on how many come after.
    golden = 1.32471795724474602596
    start = np.random.default_rng([seed, _COHORT]).random(2)
    people = []
    for writer in range(1, writers + 1):
        of_age, of_pages = (start + writer * np.array([1 / golden, 1 / golden**2])) % 1
        rng = np.random.default_rng([seed, _SEX, writer])
        sex = "FM"[int(rng.integers(2))]
        forms = sorted(rng.choice(np.arange(1, _FORMS + 1), _pages_at(of_pages), replace=False).tolist())
        people.append((writer, age_at(of_age), sex, forms))
    splits = _assign_splits([age_group(p[1]) for p in people], [len(p[3]) for p in people], seed)
    return [
        PlannedPage(writer, age, sex, form, split)
        for (writer, age, sex, forms), split in zip(people, splits, strict=True)
        for form in forms
    ]


def _pages_at(quantile: float) -> int:
    """How many pages a writer has: one for most, and a heavy tail that is cut at ten."""
    single = 0.78
    if quantile < single:
        return 1
    return int(min(_MOST_PAGES, 2 * ((1 - quantile) / (1 - single)) ** (-1 / 1.4)))


def _assign_splits(groups: list[int], pages: list[int], seed: int) -> list[str]:
    """Deals writers into splits with HHD's fractions of pages in every age group, those with fewest pages held out."""
    rng = np.random.default_rng([seed, _SPLIT])
    splits = ["train"] * len(groups)
    order = sorted(rng.permutation(len(groups)).tolist(), key=lambda w: pages[w])
    for split, fraction in _HELD_OUT_FRACTION.items():
        wanted = 0.0
        for group in sorted(set(groups), key=groups.count, reverse=True):
            wanted += fraction * sum(n for n, g in zip(pages, groups, strict=True) if g == group)
            for writer in order:
                if wanted < 0.5:
                    break
                fits = pages[writer] <= wanted + 0.5
                if fits and groups[writer] == group and splits[writer] == "train":
                    splits[writer] = split
                    wanted -= pages[writer]
    return splits


def _is_finished(folder: Path, settings: dict, pages: list[PlannedPage]) -> bool:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    if not folder.is_dir():
        raise InputError(f"{folder} is a file; name a folder that is new or empty.")
    marker = _read_marker(folder)
    if marker is None:
        raise InputError(f"{folder} is not empty and holds no synthetic cohort; name a folder that is new or empty.")
    if different := [key for key in settings if marker.get(key) != settings[key]]:
        key = different[0] if different[0] != "pages" else different[-1]
        raise InputError(
            f"{folder} holds another synthetic cohort ({key} {marker.get(key)}, not {settings[key]}); "
            "name another folder or remove this one."
        )
    missing = [page.name for page in pages if not (folder / page.split / page.name).is_file()]
    if missing or not (folder / LABELS).is_file():
        lost = missing[0] if missing else LABELS
        raise InputError(f"{folder} holds this cohort but {lost} is missing; remove the folder and draw it again.")
    return True


def _read_marker(folder: Path) -> dict | None:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) else None


def _write_labels(path: Path, pages: list[PlannedPage]) -> None:
    with atomic_write(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["File", "AgeGroup", "Set", "Age"])
        table.writerows([page.name, age_group(page.age), page.split, page.age] for page in pages)


def _draw_all(folder: Path, pages: list[PlannedPage], seed: int, progress: bool, workers: int | None) -> None:
    from tqdm import tqdm

    todo = [page for page in pages if not (folder / page.split / page.name).is_file()]
    workers = min(workers or os.cpu_count() or 1, max(1, len(todo)))
    drawn = len(pages) - len(todo)
    with tqdm(total=len(pages), initial=drawn, desc="Drawing pages", unit="page", disable=not progress) as bar:
        if workers == 1:
            for page in todo:
                _draw_file(folder, page, seed)
                bar.update()
            return
        # joblib's processes are fresh ones (the caller may have TensorFlow's threads running, which do not survive a
        # fork) that do not import the caller's main module again (it may take seconds to load).
        from joblib import Parallel, delayed

        work = Parallel(workers, return_as="generator_unordered", idle_worker_timeout=10)
        for _ in work(delayed(_draw_in_worker)(folder, page, seed) for page in todo):
            bar.update()


def _draw_in_worker(folder: Path, page: PlannedPage, seed: int) -> None:
    import cv2

    cv2.setNumThreads(1)  # Each worker has one processor.
    _draw_file(folder, page, seed)


def _draw_file(folder: Path, page: PlannedPage, seed: int) -> None:
    from age_keras.data.synthetic.page import draw_page

    style = draw_style(np.random.default_rng([seed, _STYLE, page.writer]), page.age)
    pixels = draw_page(style, np.random.default_rng([seed, _PAGE, page.writer, page.form]))
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "TIFF", compression="tiff_lzw", dpi=(DPI, DPI))
    with atomic_write(folder / page.split / page.name, "wb") as file:
        file.write(encoded.getvalue())
