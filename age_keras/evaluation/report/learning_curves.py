"""Learning curves from a run's `history.csv`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from age_keras.evaluation.report.figures import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MODELS = 6


def read_history(path: Path) -> pd.DataFrame | None:
    """A run's history, or None where it is missing, empty, or has no epochs. Column names in lower case."""
    if not path.is_file():
        return None
    try:
        history = pd.read_csv(path)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError):
        return None
    history.columns = [str(c).strip().lower() for c in history.columns]
    return history if len(history) and "epoch" in history else None


def learning_curves(history: pd.DataFrame) -> "Figure | None":
    """Training and validation error against epochs: a panel for each model, a thin line for each fold, phases parted.

    Args:
        history: from `read_history`: `epoch` and `mae`, `val_mae` (or `loss`, `val_loss`), and perhaps `phase`, `fold`,
            `model`. Epochs may start again in each phase.
    """
    pair = next(((t, v) for t, v in (("mae", "val_mae"), ("loss", "val_loss")) if {t, v} & set(history)), None)
    if pair is None:
        return None
    models = list(history.model.unique())[:MOST_MODELS] if "model" in history else [None]
    columns = min(3, len(models))
    rows = -(-len(models) // columns)
    width = 7 if columns == 1 else 3.6 * columns
    figure, axes = new_figure(rows, columns, width, 3.6 * rows, sharey=True)
    for position, axis in enumerate(axes.flat):
        if position >= len(models):
            axis.set_visible(False)
            continue
        model = models[position]
        part = history if model is None else history[history.model == model]
        folds = [part[part.fold == fold] for fold in part.fold.unique()] if "fold" in part else [part]
        boundaries: set[int] = set()
        for fold in folds:
            lines = fold.reset_index(drop=True)
            epochs = np.arange(1, len(lines) + 1)
            for column, colour, style, label in (
                (pair[0], COLOURS[0], "-", "training"),
                (pair[1], COLOURS[1], (0, (4, 1)), "validation"),
            ):
                if column in lines:
                    one = label if fold is folds[0] else None
                    axis.plot(epochs, lines[column], color=colour, linestyle=style, label=one, linewidth=1.4, alpha=0.8)
            if pair[1] in lines and lines[pair[1]].notna().any():
                best = int(lines[pair[1]].argmin())
                marker = {"color": COLOURS[1], "marker": "o", "markersize": 5, "linestyle": "none"}
                axis.plot(
                    epochs[best], lines[pair[1]][best], label="best epoch" if fold is folds[0] else None, **marker
                )
            if "phase" in lines:
                changes = np.flatnonzero(lines.phase.to_numpy()[1:] != lines.phase.to_numpy()[:-1])
                boundaries |= {int(c) + 1 for c in changes}
        if len(boundaries) == 1 or len(folds) == 1:  # Folds that stop early change phase at different epochs.
            for boundary in boundaries:
                axis.axvline(boundary + 0.5, color="#999999", linewidth=0.9, linestyle=":")
        if model is not None:
            axis.set_title(str(model), fontsize=10)
        axis.set_xlabel("epoch", fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.yaxis.grid(True, color="#DDDDDD", linewidth=0.7)
    axes.flat[0].set_ylabel("mean absolute error (years)" if pair[0] == "mae" else "loss", fontsize=9)
    axes.flat[0].legend(fontsize=8, frameon=False)
    return figure
