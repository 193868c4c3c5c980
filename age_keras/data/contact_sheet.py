"""A contact sheet: a few patches, each in a row with its augmented copies."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from age_keras.files import atomic_write


def write_contact_sheet(
    path: str | Path, originals: np.ndarray, copies: Sequence[np.ndarray], labels: Sequence[str], title: str
) -> None:
    """Draws a PNG with a row for each patch: the original, framed, then its copies.

    Args:
        path: the PNG file.
        originals: uint8 (N, H, W, C).
        copies: for each view, uint8 (N, H, W, C).
        labels: a line for each patch.
        title: above all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, rows, cell = 1 + len(copies), len(originals), 1.9
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
            patch = (originals if column == 0 else copies[column - 1])[row]
            axis.imshow(patch.squeeze(-1) if patch.shape[-1] == 1 else patch, cmap="gray", vmin=0, vmax=255)
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(color="#1f5fa8" if column == 0 else "#c8c8c8", linewidth=2.0 if column == 0 else 0.8)
            if row == 0:
                axis.set_title("original" if column == 0 else f"copy {column}", fontsize=10, pad=4)
            if column == 0:
                axis.set_ylabel(label, fontsize=8.5, labelpad=3)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")
