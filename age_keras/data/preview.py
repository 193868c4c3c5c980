"""A look at a few patches of a few pages and at their augmented views: without a store, so that it costs seconds."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from age_keras.config.pages import PageSettings
from age_keras.data.batches import counter
from age_keras.data.patches.pages import Page, cut_page
from age_keras.data.table.samples import read_samples
from age_keras.errors import InputError
from age_keras.files import atomic_write


def choose_patches(
    folder: str | Path, labels: str | Path | None, settings: PageSettings, count: int, seed: int
) -> tuple[np.ndarray, list[str]]:
    """Chooses patches at random: of as many pages as there are, then more of each.

    Args:
        folder: A folder of pages, with or without labels.
        labels: Its labels file, or None to find it.
        settings: How pages become patches.
        count: Patches to choose.
        seed: Seed of the choice.

    Returns:
        uint8 (N, S, S, C), N is `count` or less if the pages have no more, and a line for each patch.

    Raises:
        InputError: If no page can be read.
    """
    samples = read_samples(folder, labels, skip_bad=True, require_age=False)
    pages: list[tuple[str, Page]] = []
    for row in counter.permutation(len(samples), seed):
        if len(pages) == count:
            break
        with contextlib.suppress(InputError):  # `age-keras data check` lists bad pages.
            pages.append((_caption(samples.table.iloc[row]), cut_page(samples.paths[row], settings)))
    if not pages:
        raise InputError(f"No page of {folder} can be read; `age-keras data check {folder}` says why.")
    orders = [counter.permutation(len(page.patches), seed, number) for number, (_, page) in enumerate(pages)]
    rounds = [(number, turn) for turn in range(count) for number in range(len(pages)) if turn < len(orders[number])]
    chosen = sorted(rounds[:count])
    patches = [pages[number][1].patches[orders[number][turn]] for number, turn in chosen]
    return np.stack(patches), [pages[number][0] for number, _ in chosen]


@contextlib.contextmanager
def synthetic_pages(count: int, seed: int) -> Iterator[Path]:
    """A temporary folder of synthetic pages of writers from 8 to 85 years."""
    import cv2

    from age_keras.data.synthetic.page import draw_page
    from age_keras.data.synthetic.writer import draw_style

    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        lines = ["File,Age,Writer"]
        for number, age in enumerate(np.linspace(8, 85, min(count, 12)).astype(int)):
            name = f"synthetic_{number + 1}.png"
            cv2.imwrite(str(Path(folder, name)), draw_page(draw_style(rng, float(age)), rng))
            lines.append(f"{name},{age},{number}")
        Path(folder, "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        yield Path(folder)


def write_contact_sheet(
    path: str | Path, originals: np.ndarray, views: Sequence[np.ndarray], labels: Sequence[str], title: str
) -> None:
    """Draws a PNG with a row for each patch: the original, framed, then its views.

    Args:
        path: The PNG file.
        originals: uint8 (N, H, W, C).
        views: One array per view, uint8 (N, H, W, C).
        labels: A line for each patch.
        title: Above all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, rows, cell = 1 + len(views), len(originals), 1.9
    width, height = columns * cell + 0.2, rows * (cell + 0.02) + 0.74
    figure = Figure(figsize=(width, height), dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=0.3 / width, right=1 - 0.06 / width, bottom=0.06 / height, top=1 - 0.64 / height, wspace=0.05, hspace=0.05
    )
    figure.text(0.3 / width, 1 - 0.14 / height, title, fontsize=12, fontweight="bold", va="top")
    for row, label in enumerate(labels):
        for column in range(columns):
            axis = axes[row, column]
            patch = (originals if column == 0 else views[column - 1])[row]
            axis.imshow(patch.squeeze(-1) if patch.shape[-1] == 1 else patch, cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(color="#1f5fa8" if column == 0 else "#c8c8c8", linewidth=2.0 if column == 0 else 0.8)
            if row == 0:
                axis.set_title("original" if column == 0 else f"view {column}", fontsize=10, pad=4)
            if column == 0:
                axis.set_ylabel(label, fontsize=8.5, labelpad=3)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")


def _caption(row) -> str:
    name = Path(row["ImageID"]).stem
    name = name if len(name) <= 22 else f"{name[:20]}…"
    return name if np.isnan(row["Age"]) else f"{name}, age {row['Age']:g}"
