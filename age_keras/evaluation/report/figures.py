"""Figures of an evaluation: predicted against true age, error by band, the distribution of errors.

Colours are Okabe and Ito's (2008), told apart by colour-blind readers too; lines also differ in their dashes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from age_keras.evaluation.evaluate import Evaluation
from age_keras.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
CONSTANT = "#444444"
_DASHES = ("-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
MOST = 6  # Models in one figure; the best by MAE are shown.


@dataclass(frozen=True)
class Drawn:
    """A figure that was written: its file, what it is called, and how it is read."""

    path: Path
    title: str
    caption: str


def draw_figures(result: Evaluation, folder: str | Path) -> list[Drawn]:
    """Draws what predictions alone can show, as PNG files.

    Args:
        result: from `evaluate`.
        folder: is made if needed.
    """
    folder = Path(folder)
    shown = best_models(result)
    some = (
        f" The best {len(shown)} of {len(result.models)} models are shown." if len(shown) < len(result.models) else ""
    )
    todo: list[tuple[str, str, Callable, str]] = [
        (
            "predicted_vs_true",
            "Predicted and true age",
            predicted_vs_true,
            "Each point is a page. A good model lies on the diagonal; a constant is the dashed line. "
            "Thin vertical lines part the age bands.",
        ),
        (
            "error_by_band",
            "Error by age band",
            error_by_band,
            "Mean absolute error with its 95% interval (bootstrap over writers), beside the best constant.",
        ),
        (
            "error_distribution",
            "Distribution of errors",
            error_distribution,
            "Left: the percentage of pages whose error is at most so many years (higher is better). "
            "Right: signed errors; the box holds half of the pages, the whiskers 90%.",
        ),
    ]
    return [
        Drawn(save(draw(result), folder / f"{name}.png"), title, caption + some) for name, title, draw, caption in todo
    ]


def best_models(result: Evaluation) -> list[int]:
    """The numbers of at most `MOST` models, best MAE first."""
    order = np.argsort(result.headline("MAE")[: len(result.models)], kind="stable")
    return [int(i) for i in order[:MOST]]


def new_figure(rows: int, columns: int, width: float, height: float, **options) -> tuple["Figure", np.ndarray]:
    """A figure without pyplot's global state, and its axes, (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=9)
    return figure, axes


def save(figure: "Figure", path: Path) -> Path:
    """Writes a figure as PNG, atomically."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")
    return path


def predicted_vs_true(result: Evaluation) -> "Figure":
    """One panel a model: pages as points, the identity, the best constant, the age bands."""
    shown, truth = best_models(result), result.aligned.truth
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    side = {1: 5.5, 2: 4.2, 3: 3.2}[columns]
    figure, axes = new_figure(rows, columns, side * columns, side * rows, sharex=True, sharey=True)
    predictions = result.aligned.predictions[shown]
    low = np.floor(min(truth.min(), predictions.min()) - 2)
    high = np.ceil(max(truth.max(), predictions.max()) + 2)
    constant = float(np.mean(result.best_constant.predictions))
    part = 0.5 if (truth == np.round(truth)).all() else 1.0  # Between whole years, or at the birthday.
    faint = float(np.clip(60 / np.sqrt(len(truth)) / 8, 0.2, 0.7))
    for position, axis in enumerate(axes.flat):
        if position >= len(shown):
            axis.set_visible(False)
            continue
        number = shown[position]
        for edge in result.edges:
            if low < edge + part < high:
                axis.axvline(edge + part, color="#BBBBBB", linewidth=0.7, zorder=0)
        axis.plot([low, high], [low, high], color="black", linewidth=1, label="identity")
        axis.axhline(constant, color=CONSTANT, linestyle="--", linewidth=1.2, label=f"constant {constant:.3g}")
        axis.scatter(truth, result.aligned.predictions[number], s=14, color=COLOURS[0], alpha=faint, linewidths=0)
        axis.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axis.set_title(f"{result.models[number]}\nMAE {result.headline('MAE')[number]:.2f}", fontsize=10)
        if position % columns == 0:
            axis.set_ylabel("predicted age (years)", fontsize=9)
        if position + columns >= len(shown):
            axis.set_xlabel("true age (years)", fontsize=9)
            axis.tick_params(labelbottom=True)
    axes.flat[0].legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def error_by_band(result: Evaluation) -> "Figure":
    """MAE of each model and of the best constant in each age band, with intervals."""
    shown = best_models(result)
    bands = [band for band in result.bands if band != "macro"]
    figure, axes = new_figure(1, 1, 8, 4.2)
    axis = axes[0, 0]
    rows = [*shown, len(result.models) + result.best]
    step = 0.8 / len(rows)
    for position, row in enumerate(rows):
        is_constant = row >= len(result.models)
        values = np.array([result.bands[band]["MAE"][row] for band in bands])
        bounds = np.array([result.bands[band]["MAE_interval"][row] for band in bands])
        x = np.arange(len(bands)) + (position - (len(rows) - 1) / 2) * step
        label = f"constant {result.best_constant.years}" if is_constant else result.models[row]
        colour = "#BBBBBB" if is_constant else COLOURS[position]
        axis.bar(
            x, values, step * 0.92, color=colour, label=label, hatch="///" if is_constant else None, edgecolor="white"
        )
        reach = np.nan_to_num(np.abs(bounds - values[:, None])).T
        axis.errorbar(x, values, reach, fmt="none", ecolor="black", elinewidth=0.9, capsize=2)
    counts = [f"{band}\n{result.bands[band]['n']} pages\n{result.bands[band]['writers']} writers" for band in bands]
    axis.set_xticks(range(len(bands)), counts)
    axis.set_ylabel("mean absolute error (years)", fontsize=9)
    axis.yaxis.grid(True, color="#DDDDDD", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.legend(fontsize=8, frameon=False, loc="upper left", ncols=1 if len(rows) <= 4 else 2)
    return figure


def error_distribution(result: Evaluation) -> "Figure":
    """The cumulative distribution of absolute errors, and the spread of signed errors."""
    shown = best_models(result)
    figure, axes = new_figure(1, 2, 10, 4.2, width_ratios=(1.2, 1))
    left, right = axes[0]
    signed = result.aligned.predictions[shown] - result.aligned.truth
    constant = result.best_constant.predictions - result.aligned.truth
    labels = [result.models[i] for i in shown]
    limit = max(10.0, float(np.percentile(np.abs(signed), 97)))
    for i, (label, errors) in enumerate(zip(labels, signed, strict=True)):
        _cumulative(left, errors, color=COLOURS[i], linestyle=_DASHES[i], label=label, linewidth=1.6)
    name = f"constant {result.best_constant.years}"
    _cumulative(left, constant, color=CONSTANT, linestyle="--", label=name, linewidth=1.2)
    left.set(xlim=(0, limit), ylim=(0, 100))
    left.xaxis.get_major_locator().set_params(steps=[1, 2, 5, 10])
    left.set_xlabel("absolute error (years)", fontsize=9)
    left.set_ylabel("pages within that error (%)", fontsize=9)
    left.grid(True, color="#DDDDDD", linewidth=0.7)
    left.legend(fontsize=8, frameon=False, loc="lower right")
    # The best on top, as in the tables.
    boxes = right.boxplot(
        [*signed, constant][::-1],
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        widths=0.6,
        medianprops={"color": "black"},
    )
    colours = [*COLOURS[: len(shown)], "#BBBBBB"][::-1]
    for box, colour in zip(boxes["boxes"], colours, strict=True):
        box.set(facecolor=colour, alpha=0.75)
    right.set_yticks(range(1, len(labels) + 2), [*labels, name][::-1], fontsize=8)
    right.xaxis.get_major_locator().set_params(steps=[1, 2, 5, 10])
    right.axvline(0, color="black", linewidth=0.8)
    right.set_xlabel("predicted − true age (years)", fontsize=9)
    right.xaxis.grid(True, color="#DDDDDD", linewidth=0.7)
    right.set_axisbelow(True)
    return figure


def _cumulative(axis: "Axes", errors: np.ndarray, **style) -> None:
    sorted_errors = np.sort(np.abs(errors))
    percent = 100 * np.arange(1, len(errors) + 1) / len(errors)
    axis.step(np.concatenate([[0], sorted_errors]), np.concatenate([[0], percent]), where="post", **style)
