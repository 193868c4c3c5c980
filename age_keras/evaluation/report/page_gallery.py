"""The pages that a model gets right and wrong, as pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from age_keras.data.patches.decode import decode_page
from age_keras.errors import InputError
from age_keras.evaluation.evaluate import Evaluation
from age_keras.evaluation.report.figures import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE = 360  # Pixels of a thumbnail's longer side.


def best_and_worst(result: Evaluation, model: int, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the pages with the smallest and the largest error, one page a writer, at most `count` each."""
    error = np.abs(result.aligned.predictions[model] - result.aligned.truth)
    writers = result.aligned.writers

    def first(order: np.ndarray) -> np.ndarray:
        own = np.unique(writers[order], return_index=True)[1]
        return order[np.sort(own)][:count]

    order = np.argsort(error, kind="stable")
    best, worst = first(order), first(order[::-1])
    if len(best) + len(worst) > len(np.unique(writers)):  # A handful of writers: each page stands once.
        half = max(1, len(np.unique(writers)) // 2)
        return best[:half], worst[:half]
    return best, worst


def page_gallery(
    result: Evaluation, model: int, images: Callable[[str], Path | None], count: int = 4
) -> "Figure | None":
    """Best pages above, worst pages below, each with its true and predicted age.

    Args:
        result: from `evaluate`.
        model: its number.
        images: gives the path of the page with an ImageID, or None.
        count: of pages in a row.

    Returns:
        The figure, or None where no page can be opened.
    """
    best, worst = best_and_worst(result, model, count)
    pages = [
        [(row, _thumbnail(images(result.aligned.pages.ImageID.iloc[row]))) for row in rows] for rows in (best, worst)
    ]
    if all(picture is None for row in pages for _, picture in row):
        return None
    columns = max(len(best), len(worst))
    figure, axes = new_figure(2, columns, 2.6 * columns, 5.8)
    for line, title in enumerate(("closest", "farthest")):
        for column in range(columns):
            axis = axes[line, column]
            axis.set_xticks([])
            axis.set_yticks([])
            if column >= len(pages[line]):
                axis.set_visible(False)
                continue
            row, picture = pages[line][column]
            if picture is None:
                axis.text(0.5, 0.5, "page not found", ha="center", va="center", transform=axis.transAxes, fontsize=8)
            else:
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
            axis.set_anchor("N")
            for spine in axis.spines.values():
                spine.set(visible=True, color="#999999", linewidth=0.7)
            truth, said = result.aligned.truth[row], result.aligned.predictions[model, row]
            axis.set_title(f"{title}: true {truth:.3g}\npredicted {said:.1f}", fontsize=9)
    return figure


def _thumbnail(path: Path | None) -> np.ndarray | None:
    """A page as grey pixels, uint8, its longer side `_SIDE`; None where it cannot be opened."""
    if path is None:
        return None
    try:
        page = decode_page(path)
    except InputError:
        return None
    page.thumbnail((_SIDE, _SIDE))
    return np.asarray(page)
