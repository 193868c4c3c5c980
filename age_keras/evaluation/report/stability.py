"""How steadily a model trained: gradient norms and spikes of the loss, from `history.csv`."""

from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.evaluation.report.figures import new_figure, save
from age_keras.evaluation.text import markdown, number

SPIKE = 1.5  # an epoch whose loss is this many times the lowest before it


def stability_table(history: pd.DataFrame) -> str:
    """A Markdown table, a row for each model: gradient norms and loss spikes.

    Args:
        history: a row for each epoch: `model`, `loss`, and, where one device trained, `gradient_norm` (of the epoch's
            last step, before clipping).
    """
    header = ["Model", "Epochs", "Median gradient norm", "Largest", "Largest / median", "Loss spikes", "Diverged"]
    rows = []
    for model, epochs in history.groupby("model", sort=False):
        norms = epochs["gradient_norm"] if "gradient_norm" in epochs else pd.Series(dtype=float)
        losses = epochs["loss"].to_numpy()
        lowest = np.minimum.accumulate(losses)
        spikes = int((losses[1:] > SPIKE * lowest[:-1]).sum())
        middle, largest = norms.median(), norms.max()
        diverged = "no" if np.isfinite(losses).all() else "yes"
        ratio = number(largest / middle, 1) if middle > 0 else "–"
        rows.append([model, str(len(epochs)), number(middle), number(largest), ratio, str(spikes), diverged])
    return markdown(header, rows)


def stability_figure(history: pd.DataFrame, path: Path) -> Path:
    """Learning rate, gradient norm and training loss over epochs, a line for each model.

    Args:
        history: as for `stability_table`, with `learning_rate` and `epoch` (from 0). A model called `X-plain` is drawn
            dashed in the colour of `X`.
        path: of the PNG.

    Returns:
        The path.
    """
    panels = {
        "learning_rate": "learning rate",
        "gradient_norm": "gradient norm before clipping",
        "loss": "training loss",
    }
    panels = {column: title for column, title in panels.items() if column in history}
    figure, axes = new_figure(1, len(panels), 4.2 * len(panels), 3.4)
    colours: dict[str, str] = {}
    for axis, (column, title) in zip(np.ravel(axes), panels.items(), strict=True):
        for model, epochs in history.groupby("model", sort=False):
            base = str(model).removesuffix("-plain")
            colour = colours.setdefault(base, f"C{len(colours)}")
            style = "-" if model == base else "--"
            axis.plot(epochs["epoch"] + 1, epochs[column], style, marker=".", color=colour, label=model)
        values = history[column].to_numpy()
        values = values[np.isfinite(values) & (values > 0)]
        # A logarithmic axis only where it is needed: within one decade its labels are hard to read.
        if len(values) and values.max() > 10 * values.min():
            axis.set_yscale("log")
        axis.set(xlabel="epoch", ylabel=title)
        axis.xaxis.get_major_locator().set_params(integer=True)
    np.ravel(axes)[0].legend(fontsize="small", frameon=False)
    return save(figure, path)
