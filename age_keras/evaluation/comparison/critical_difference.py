"""The figure of critical differences: models on an axis of their error, bars joining those that do not differ.

After Demšar (2006, Journal of Machine Learning Research 7), with the pairwise tests of `significance` in place of rank
tests: each bar is a largest set of models of which no two are shown to differ.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from age_keras.evaluation.comparison.comparison import Comparison
from age_keras.evaluation.report.figures import COLOURS, CONSTANT, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def groups_not_differing(members: Iterable[int], differing: set[frozenset[int]]) -> list[list[int]]:
    """The largest sets of two or more members of which no two differ.

    Args:
        members: in the order wanted.
        differing: the pairs that differ.

    Returns:
        The sets, each in the members' order, by their first member.
    """
    order = list(members)
    alike = {a: {b for b in order if b != a and frozenset((a, b)) not in differing} for a in order}
    found: list[set[int]] = []

    def grow(chosen: set[int], open_: set[int], closed: set[int]) -> None:  # Bron and Kerbosch (1973), with a pivot
        if not open_ and not closed:
            found.append(chosen)
            return
        pivot = max(open_ | closed, key=lambda v: len(alike[v] & open_))
        for v in sorted(open_ - alike[pivot]):
            grow(chosen | {v}, open_ & alike[v], closed & alike[v])
            open_, closed = open_ - {v}, closed | {v}

    grow(set(), set(order), set())
    groups = [[m for m in order if m in group] for group in found if len(group) > 1]
    return sorted(groups, key=lambda group: [order.index(m) for m in group])


def critical_differences(result: Comparison) -> "Figure":
    """Models by rank, each with its 95 % interval, and the bars that join those not shown to differ.

    Where all were compared with one reference, models are marked that differ from it.
    """
    ranking = result.ranking
    row = {model: place for place, model in enumerate(ranking)}
    differing = {frozenset((p.a, p.b)) for p in result.pairs if p.differ}
    groups = [] if result.reference is not None else groups_not_differing(ranking, differing)
    figure, axes = new_figure(
        1, 2, 8.2, 1.5 + 0.36 * len(ranking), sharey=True, width_ratios=(6, max(1.0, 0.32 * (len(groups) + 1)))
    )
    left, right = axes[0]
    for model in ranking:
        colour = CONSTANT if model == result.constant else COLOURS[0]
        left.plot(result.intervals[model], [row[model]] * 2, color=colour, linewidth=1.6, alpha=0.55)
        marker = "s" if model == result.constant else "o"
        left.plot(result.scores[model], row[model], marker, color=colour, markersize=7)
        text = f"{result.scores[model]:.2f}"
        left.annotate(
            text, (result.scores[model], row[model]), (0, 6), textcoords="offset points", ha="center", fontsize=8
        )
    left.set_yticks(range(len(ranking)), [result.names[m] for m in ranking])
    left.set_ylim(len(ranking) - 0.4, -0.7)
    left.tick_params(axis="y", length=0)
    left.spines["left"].set_visible(False)
    left.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    left.set_axisbelow(True)
    unit = " (years)" if result.metric in ("MAE", "RMSE", "Bias") else ""
    drawn = "writers" if result.by == "writer" else "pages"
    left.set_xlabel(f"{result.metric}{unit}, 95% interval over {drawn}", fontsize=9)
    right.spines[["left", "bottom"]].set_visible(False)
    right.tick_params(bottom=False, labelbottom=False, left=False, labelleft=False)
    if result.reference is not None:
        right.set_title("differs?", fontsize=9, loc="left")
        right.text(0, row[result.reference], "reference", va="center", fontsize=9, style="italic")
        for pair in result.pairs:
            right.text(0, row[pair.a], "yes" if pair.differ else "not shown", va="center", fontsize=9)
        right.set_xlim(-0.05, 1)
    else:
        right.set_title("dots on one bar:\nnot shown to differ" if groups else "all differ", fontsize=9)
        for column, group in enumerate(groups):
            places = [row[m] for m in group]
            right.plot([column, column], [min(places), max(places)], color="black", linewidth=2.5, alpha=0.8)
            right.plot([column] * len(places), places, "o", color="black", markersize=5.5)
        right.set_xlim(-0.8, max(len(groups), 1) - 0.2)
    return figure
