"""A few patches of a few pages, to be looked at: without a store, so that a look costs seconds."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from age_keras.config.pages import PageSettings
from age_keras.data.batches import counter
from age_keras.data.patches.pages import Page, cut_page
from age_keras.data.table.samples import read_samples
from age_keras.errors import InputError


def choose_patches(
    folder: str | Path, labels: str | Path | None, settings: PageSettings, count: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Chooses patches at random: of as many pages as there are, then more of each.

    Args:
        folder: a folder of pages, with or without labels.
        labels: its labels file, or None to find it.
        settings: how pages become patches.
        count: patches to choose.
        seed: of the choice.

    Returns:
        uint8 (N, S, S, C), N is `count` or less if the pages have no more, and a line for each patch.

    Raises:
        InputError: if no page can be read.
    """
    samples = read_samples(folder, labels, skip_bad=True, require_age=False)
    pages: list[tuple[str, Page]] = []
    for row in counter.permutation(len(samples), seed):
        if len(pages) == count:
            break
        with contextlib.suppress(InputError):  # `age-keras data check` is what tells of bad pages.
            pages.append((_caption(samples.table.iloc[row]), cut_page(samples.paths[row], settings)))
    if not pages:
        raise InputError(f"No page of {folder} can be read; `age-keras data check {folder}` tells why.")
    orders = [counter.permutation(len(page.patches), seed, number) for number, (_, page) in enumerate(pages)]
    rounds = [(number, turn) for turn in range(count) for number in range(len(pages)) if turn < len(orders[number])]
    chosen = sorted(rounds[:count])
    patches = [pages[number][1].patches[orders[number][turn]] for number, turn in chosen]
    return np.stack(patches), [pages[number][0] for number, _ in chosen]


@contextlib.contextmanager
def made_up_pages(count: int, seed: int) -> Iterator[Path]:
    """A temporary folder of made-up pages of writers from 8 to 85 years."""
    import cv2

    from age_keras.data.synthetic.page import draw_page
    from age_keras.data.synthetic.writer import draw_style

    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        lines = ["File,Age,Writer"]
        for number, age in enumerate(np.linspace(8, 85, min(count, 12)).astype(int)):
            name = f"made_up_{number + 1}.png"
            cv2.imwrite(str(Path(folder, name)), draw_page(draw_style(rng, float(age)), rng))
            lines.append(f"{name},{age},{number}")
        Path(folder, "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield Path(folder)


def _caption(row) -> str:
    name = Path(row["ImageID"]).stem
    name = name if len(name) <= 22 else f"{name[:20]}…"
    return name if np.isnan(row["Age"]) else f"{name}, age {row['Age']:g}"
