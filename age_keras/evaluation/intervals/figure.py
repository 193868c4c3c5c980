"""The calibration of intervals: how often they hold the age, against how often they are made to."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from age_keras.evaluation.metrics import per_writer
from age_keras.evaluation.report.figures import COLOURS, MOST, new_figure
from age_keras.predictions.alignment import Aligned, align

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_MARKERS = ("o", "s", "^", "D", "v", "P")


def interval_calibration(bounded: Callable[[float], pd.DataFrame]) -> "Figure":
    """Left: coverage by writer at each nominal coverage; right: the width that it takes.

    Args:
        bounded: gives the scored rows with `Lower` and `Upper` for a coverage.
    """
    tables = [align(bounded(level)) for level in LEVELS]
    first = tables[0]
    errors = np.abs(first.predictions - first.truth).mean(axis=1)
    has = np.isfinite(first.lower).any(axis=1)
    shown = [int(m) for m in np.argsort(errors, kind="stable") if has[m]][:MOST]
    figure, axes = new_figure(1, 2, 9.5, 4.3)
    left, right = axes[0]
    nominal = 100 * np.array(LEVELS)
    writers = int(first.writers.max()) + 1
    grid = np.linspace(0.45, 1, 100)
    # Where a well calibrated model's coverage lies 95 times in 100, for so many writers.
    reach = 196 * np.sqrt(grid * (1 - grid) / writers)
    left.fill_between(100 * grid, 100 * grid - reach, np.minimum(100 * grid + reach, 100), color="#DDDDDD", zorder=0)
    left.plot([45, 100], [45, 100], color="black", linewidth=1, label="as promised")
    for place, model in enumerate(shown):
        figures = np.array([_covered(table, model) for table in tables])
        style = {"color": COLOURS[place], "marker": _MARKERS[place], "markersize": 5, "linewidth": 1.4}
        left.plot(nominal, figures[:, 0], label=first.models[model], **style)
        right.plot(nominal, figures[:, 1], **style)
    left.set(xlim=(45, 100), ylim=(45, 100))
    left.set_ylabel("writers whose age lies within (%)", fontsize=9)
    right.set_ylabel("mean width (years)", fontsize=9)
    right.set_ylim(bottom=0)
    for axis in (left, right):
        axis.set_xlabel("nominal coverage (%)", fontsize=9)
        axis.grid(True, color="#EEEEEE", linewidth=0.7)
        axis.set_axisbelow(True)
    left.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def _covered(table: Aligned, model: int) -> tuple[float, float]:
    lower, upper = table.lower[model], table.upper[model]
    known = np.isfinite(lower) & np.isfinite(upper)
    inside = ((lower <= table.truth) & (table.truth <= upper))[known]
    writers = np.unique(table.writers[known], return_inverse=True)[1]
    return 100 * float(per_writer(inside[None], writers).mean()), float((upper - lower)[known].mean())
