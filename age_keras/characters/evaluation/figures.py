"""Figures of a recogniser's report: curves, confusion, reliability, abstaining, the hardest characters."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from age_keras.characters.calibration import Reliability

BLUE, RED, GREY = "#2b6cb0", "#c53030", "0.55"


def save_curves(path: Path, histories: Mapping[int, Sequence[dict]]) -> None:
    """Loss and error of every seed over the epochs, training (thin) and validation (thick)."""
    from matplotlib.ticker import LogLocator, NullLocator

    figure, (left, right) = _figure(1, 2, (8.4, 3.2))
    for i, (seed, rows) in enumerate(histories.items()):
        epochs = [r["epoch"] for r in rows]
        colour = f"C{i}"
        left.plot(epochs, [r["loss"] for r in rows], color=colour, linewidth=0.8, alpha=0.7)
        left.plot(epochs, [r["val_loss"] for r in rows], color=colour, linewidth=1.8, label=f"seed {seed}")
        for key, width in (("accuracy", 0.8), ("val_accuracy", 1.8)):
            errors = np.maximum([100 * (1 - r[key]) for r in rows], 1e-2)
            right.plot(epochs, errors, color=colour, linewidth=width, alpha=0.7 if width < 1 else 1)
    left.set(xlabel="epoch", ylabel="loss (nats)", yscale="log", title="Loss")
    right.set(xlabel="epoch", ylabel="wrong (%)", yscale="log", title="Error")
    for axes in (left, right):
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7), numticks=30))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25, which="both")
    left.legend(frameon=False, title="thick: validation", fontsize=8, title_fontsize=8)
    _save(figure, path)


def save_confusion(path: Path, matrix: np.ndarray, classes: Sequence[str]) -> None:
    """The confusion matrix: wrong answers as colour, all numbers written out."""
    count = len(classes)
    side = min(12.0, max(4.2, 0.42 * count + 1.2))
    figure, axes = _figure(1, 1, (side, side))
    off = matrix.astype(float)
    np.fill_diagonal(off, 0)
    axes.imshow(off / max(off.max(), 1), cmap="Reds", vmin=0, vmax=1.4)
    if count <= 30:
        for i, j in np.ndindex(*matrix.shape):
            if matrix[i, j]:
                size = (7 if i == j else 9) if count <= 12 else 5
                axes.text(j, i, matrix[i, j], ha="center", va="center", fontsize=size, color=GREY if i == j else "0.1")
    axes.set_xticks(range(count), classes, fontsize=8 if count <= 30 else 6)
    axes.set_yticks(range(count), classes, fontsize=8 if count <= 30 else 6)
    axes.set(xlabel="answer", ylabel="truth", title="Confusion (colour: wrong answers)")
    _save(figure, path)


def save_reliability(path: Path, before: Reliability, after: Reliability) -> None:
    """Confidence against accuracy, before and after temperature scaling."""
    figure, (left, right) = _figure(1, 2, (8.4, 3.4))
    left.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    for r, colour, label in ((before, GREY, "before"), (after, BLUE, "after")):
        shown = r.count > 0
        name = f"{label} scaling: ECE {100 * r.ece:.2f} %"
        left.plot(r.confidence[shown], r.accuracy[shown], "-", color=colour, linewidth=1, label=name)
        # A bin of a few answers says little: the larger the dot, the more answers.
        left.scatter(r.confidence[shown], r.accuracy[shown], s=8 * (1 + np.log10(r.count[shown])), color=colour)
        middle = (r.edges[:-1] + r.edges[1:]) / 2
        shift = 0.18 * (1 if label == "after" else -1) * (r.edges[1] - r.edges[0])
        right.bar(middle + shift, r.count, width=0.36 * (r.edges[1] - r.edges[0]), color=colour, label=label)
    left.set(xlabel="confidence", ylabel="accuracy", title="Reliability", xlim=(0, 1.02), ylim=(0, 1.02))
    left.legend(frameon=False, fontsize=8)
    right.set(xlabel="confidence", ylabel="answers", yscale="log", title="How many answers")
    right.legend(frameon=False, fontsize=8)
    _save(figure, path)


def save_risk_coverage(path: Path, answered: np.ndarray, risk: np.ndarray, at: float) -> None:
    """How many of the answers are wrong when only the surest are given."""
    figure, axes = _figure(1, 1, (4.6, 3.2))
    axes.plot(100 * answered, 100 * risk, color=BLUE)
    axes.axvline(100 * at, color=RED, linewidth=1, linestyle="--", label=f"threshold: answers {100 * at:.1f} %")
    certain = answered[risk == 0]  # Nothing is to be seen where no answer is wrong.
    start = max(0.0, 100 * min(at, certain.max() if certain.size else 0.0) - 5)
    axes.set(xlabel="answered (%)", ylabel="wrong among them (%)", title="Abstaining", xlim=(start, 100.5))
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.25)
    _save(figure, path)


def save_hardest(
    path: Path, images: np.ndarray, truth: Sequence[str], answer: Sequence[str], probability: Sequence[float]
) -> None:
    """A sheet of the hardest characters: truth, answer, and how sure it was."""
    columns = 8
    rows = max(1, -(-len(images) // columns))
    figure, grid = _figure(rows, columns, (8.4, 1.18 * rows), squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, image, t, a, p in zip(grid.flat, images, truth, answer, probability, strict=False):
        axes.imshow(255 - image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{t} → {a} ({100 * p:.0f} %)", fontsize=8, color=RED if t != a else "0.2", pad=2)
    _save(figure, path)


def save_lines(
    path: Path, x: Sequence[float], lines: Mapping[str, Sequence[float]], xlabel: str, ylabel: str, title: str
) -> None:
    """Named lines over one axis, such as accuracy against strength."""
    figure, axes = _figure(1, 1, (5.2, 3.4))
    for name, values in lines.items():
        axes.plot(x, values, "o-", markersize=3.5, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, path)


def save_differences(
    path: Path, names: Sequence[str], values: Sequence[Sequence[float]], xlabel: str, title: str
) -> None:
    """Named differences from zero, one line each.

    Args:
        path: The PNG file.
        names: Names from top to bottom.
        values: For each name its difference, and the lower and upper end of its interval.
        xlabel: Label of the axis.
        title: Title of the figure.
    """
    figure, axes = _figure(1, 1, (6.4, 0.9 + 0.32 * len(names)))
    for row, (value, low, high) in enumerate(values):
        colour = GREY if not (low > 0 or high < 0) else RED if value > 0 else BLUE
        axes.plot([low, high], [row, row], color=colour, linewidth=2)
        axes.plot(value, row, "o", color=colour, markersize=5)
    axes.axvline(0, color="0.2", linewidth=0.8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel=xlabel, title=title, ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="x", alpha=0.25)
    _save(figure, path)


def save_histograms(path: Path, groups: Mapping[str, np.ndarray], xlabel: str, title: str) -> None:
    """Distributions of a number in several groups, in percent."""
    figure, axes = _figure(1, 1, (5.2, 3.4))
    low = min(float(np.min(v)) for v in groups.values())
    high = max(float(np.max(v)) for v in groups.values())
    edges = np.linspace(low, high if high > low else low + 1, 31)
    for name, values in groups.items():
        axes.hist(values, edges, weights=np.full(len(values), 100 / len(values)), histtype="step", label=name, lw=1.5)
    axes.set(xlabel=xlabel, ylabel="fraction (%)", title=title)
    axes.legend(frameon=False, fontsize=8, loc="best")
    _save(figure, path)


def _figure(rows: int, columns: int, size: tuple[float, float], squeeze: bool = True):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=squeeze)


def _save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
