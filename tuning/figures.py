"""A search in pictures: parallel coordinates, importance, and how the best was found."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from age_keras.files import atomic_write
from tuning.importance import importances, is_logarithmic, parameter_table
from tuning.trials import COMPLETE, CUT, FAILED, TrialRecord, Trials

GREY = "0.55"
INACTIVE = -0.12
"""Height of trials in which a hyper-parameter has no part."""


def draw_figures(folder: Path, trials: Trials) -> dict[str, Path]:
    """Draws what there is enough of, and returns the pictures by name."""
    records = [r for r in trials.all() if r.objective is not None and r.status in (COMPLETE, CUT)]
    drawn = {
        "parallel_coordinates": parallel_coordinates(records, trials),
        "importance": importance(records, trials),
        "progress": progress(trials),
    }
    paths = {}
    for name, figure in drawn.items():
        if figure is not None:
            paths[name] = folder / f"{name}.png"
            with atomic_write(paths[name], "wb") as file:
                figure.savefig(file, format="png")
    return paths


def parallel_coordinates(records: list[TrialRecord], trials: Trials) -> Figure | None:
    """A line for each trial through its hyper-parameters to its objective; dashed where not all folds were run.

    None with fewer than two whole trials.
    """
    whole = [r for r in records if r.status == COMPLETE and len(r.folds) == trials.folds]
    if len(whole) < 2:
        return None
    table = parameter_table([r.parameters for r in records])
    names = [name for name in table if table[name].astype(str).nunique() > 1]
    scores = pd.Series([r.score for r in records])
    axes_of = [(name, *_scaled(table[name])) for name in names] + [(trials.objective.label, *_scaled(scores))]
    figure, axes = _figure(max(6.0, 1.45 * len(axes_of) + 1.5), 4.2)
    x = np.arange(len(axes_of))
    rank = (trials.objective.sign * scores).rank(pct=True).to_numpy()
    colours = mpl.colormaps["viridis"](0.95 * rank)
    heights = np.column_stack([height for _, height, _ in axes_of])
    best = trials.ranked()[0].trial
    for i in np.argsort(-rank):
        record = records[i]
        wide = record.trial == best
        axes.plot(
            x,
            heights[i],
            color="crimson" if wide else colours[i],
            linewidth=2.6 if wide else 1.2,
            linestyle="-" if len(record.folds) == trials.folds else "--",
            alpha=1.0 if wide else 0.75,
            zorder=3 if wide else 2,
        )
    for place, (_, _, ticks) in enumerate(axes_of):
        axes.axvline(place, color=GREY, linewidth=0.8, zorder=1)
        for height, text in ticks:
            axes.annotate(
                text,
                (place, height),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7.5,
                va="center",
                zorder=4,
                bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75},
            )
    axes.set_xticks(x, [_wrapped(name) for name, _, _ in axes_of], fontsize=9)
    axes.set_yticks([])
    axes.set_xlim(-0.15, len(axes_of) - 1 + 0.45)
    axes.set_title(f"Trials (red: the chosen one, {best}; the darker, the better; dashed: not all folds)", fontsize=10)
    axes.spines[:].set_visible(False)
    return figure


def importance(records: list[TrialRecord], trials: Trials) -> Figure | None:
    """Bars of main effects. None where there are too few trials."""
    found = importances([r.parameters for r in records], [r.score for r in records])
    if found is None:
        return None
    figure, axes = _figure(6.0, 0.42 * len(found) + 1.3)
    names = found["parameter"].str.replace("_", " ")
    axes.barh(names, 100 * found["fraction"], xerr=100 * found["sd"] / 2, color="#3b6ea5", ecolor=GREY)
    axes.invert_yaxis()
    axes.set(xlabel=f"fraction of the variance of {trials.objective.label} (%)", xlim=(0, None))
    axes.set_title(
        f"What mattered, by {len(records)} trials (bars: half a standard deviation of the trees)", fontsize=9
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def progress(trials: Trials) -> Figure | None:
    """Each trial's folds and mean in the order in which they ran, and the best so far."""
    records = trials.all()
    if not any(r.objective is not None for r in records):
        return None
    figure, axes = _figure(max(6.0, 0.25 * len(records) + 2), 3.6)
    sign, best, line = trials.objective.sign, np.inf, []
    for place, record in enumerate(records):
        if record.status == FAILED or record.objective is None:
            axes.scatter(place, 0.02, marker="x", color="crimson", transform=axes.get_xaxis_transform(), zorder=3)
            line.append(sign * best)
            continue
        values = record.column(trials.objective.name)
        axes.scatter([place] * len(values), values, s=9, color=GREY, linewidths=0)
        hollow = record.status != COMPLETE
        axes.scatter(
            place, record.objective, s=34, color="white" if hollow else "#3b6ea5", edgecolor="#3b6ea5", zorder=3
        )
        if record.status == COMPLETE and len(record.folds) == trials.folds:
            best = min(best, sign * record.objective)
        line.append(sign * best)
    known = np.isfinite(line)
    axes.step(np.flatnonzero(known), np.array(line)[known], where="post", color="crimson", linewidth=1.4)
    axes.set(xlabel="trial", ylabel=trials.objective.label)
    axes.set_title("Folds (grey), means (blue; hollow: not all folds), best so far (red), failed (×)", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def _figure(width: float, height: float):
    figure = Figure(figsize=(min(width, 16.0), height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _scaled(column: pd.Series) -> tuple[np.ndarray, list[tuple[float, str]]]:
    """Heights in [0, 1] of a column's values, and labelled ticks."""
    active = column.notna().to_numpy()
    heights = np.full(len(column), INACTIVE)
    if pd.api.types.is_numeric_dtype(column):
        known = column[active].to_numpy(np.float64)
        logarithmic = is_logarithmic(known)
        distinct = np.unique(known)
        ticks = distinct if len(distinct) <= 8 else _spread(known, logarithmic)
        scale = np.log10 if logarithmic else np.asarray
        low, high = scale(known.min()), scale(known.max())
        span = (high - low) or 1.0
        heights[active] = (scale(known) - low) / span
        marks = [(float((scale(tick) - low) / span), text) for tick, text in zip(ticks, _named(ticks), strict=True)]
    else:
        names = column[active].astype(str)
        marks = [(i / max(1, names.nunique() - 1), name) for i, name in enumerate(sorted(names.unique()))]
        heights[active] = names.map({name: height for height, name in marks})
    return heights, marks if active.all() else [*marks, (INACTIVE, "–")]


def _spread(values: np.ndarray, logarithmic: bool) -> np.ndarray:
    """Round numbers between the least and the largest value."""
    low, high = values.min(), values.max()
    if logarithmic:
        decades = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)))
        # Each decade's 1, 2 and 5 where there are few decades.
        steps = (1, 2, 5) if len(decades) < 3 else (1, 3) if len(decades) < 5 else (1,)
        ticks = np.outer(decades, steps).ravel()
    else:
        ticks = np.asarray(MaxNLocator(6).tick_values(low, high))
    return ticks[(ticks >= low) & (ticks <= high)]


def _named(ticks: np.ndarray) -> list[str]:
    """Three digits of each, or as many as tell them apart."""
    names = [[f"{tick:.{digits}g}" for tick in ticks] for digits in range(3, 9)]
    return next((each for each in names if len(set(each)) == len(ticks)), names[-1])


def _wrapped(name: str) -> str:
    words, lines = name.replace("_", " ").split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > 14 and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
