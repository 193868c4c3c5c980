"""A comparison of models as text: Markdown, csv, JSON."""

import csv
import io
from typing import Any

import numpy as np

from age_keras.evaluation import metrics
from age_keras.evaluation.comparison.comparison import Comparison
from age_keras.evaluation.comparison.significance import Pair
from age_keras.evaluation.text import and_list, bounds, markdown, number

_UNITS = {"MAE": "years", "RMSE": "years", "Bias": "years", "R2": "", "MAPE": "percent"}


def summary(result: Comparison) -> str:
    """One sentence: how many pairs differ, and what is better than the constant."""
    differ = [p for p in result.pairs if p.differ]
    drawn = "writers" if result.by == "writer" else "pages"
    unit = f"{result.writers if result.by == 'writer' else result.pages} {drawn}"
    count = (
        f"{len(differ)} of {len(result.pairs)} pairs differ"
        if len(result.pairs) > 1
        else ("the two differ" if differ else "the two are not shown to differ")
    )
    sentence = f"Over {unit}, {count} in {result.metric} at the 5% level after Holm's correction"
    better = [result.names[_other(p, result.constant)] for p in differ if _beats_constant(result, p)]
    with_constant = [p for p in result.pairs if result.constant in (p.a, p.b)]
    if with_constant:
        name = result.names[result.constant] + (" (chosen in hindsight)" if result.hindsight else "")
        who = and_list(better) if better else "no model"
        verb = "is" if len(better) < 2 else "are"
        sentence += f"; {who} {verb} shown to be better than the {name}"
    return sentence + "."


def as_markdown(result: Comparison) -> str:
    """The sentence, the models by rank, and all pairs."""
    title = _titled(result.metric)
    ranks = [[result.names[i], number(result.scores[i]), bounds(result.intervals[i])] for i in result.ranking]
    rows = []
    for pair in _ordered(result):
        low, high = map(_signed, pair.interval)
        rows.append(
            [
                f"{result.names[pair.a]} − {result.names[pair.b]}",
                _signed(pair.difference),
                f"{low} to {high}" if np.isfinite(pair.interval).all() else "–",
                p_text(pair.p),
                p_text(pair.p_holm),
                _finding(result, pair),
            ]
        )
    drawn = "writers, each with all of their pages" if result.by == "writer" else "pages, as if each had its own writer"
    note = (
        f"Paired bootstrap-t over {drawn}: {result.resamples:,} resamples, two-sided. Intervals are of one pair; "
        f"p (Holm) is corrected for all {len(result.pairs)}."
    )
    parts = [
        summary(result),
        f"{result.pages} pages of {result.writers} writers."
        if result.writers_known
        else f"{result.pages} pages. Their writers are not known, so pages count as independent; "
        "where writers have several pages, add a column Writer.",
    ]
    if result.left_out:
        parts.append(f"{result.left_out} pages are left out: some model has no prediction for them.")
    parts += [markdown(["Best first", title, "95% interval"], ranks), note]
    parts.append(markdown(["Pair", f"Difference in {title}", "95% interval", "p", "p (Holm)", "Better"], rows))
    return "\n\n".join(parts) + "\n"


def as_csv(result: Comparison) -> str:
    """A row for each pair."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["A", "B", "Metric", "Score_A", "Score_B", "Difference", "Lower", "Upper", "p", "p_Holm", "Better"])
    for pair in _ordered(result):
        figures = (result.scores[pair.a], result.scores[pair.b], pair.difference, *pair.interval, pair.p, pair.p_holm)
        better = _finding(result, pair)
        better = "" if better == "not shown" else better
        cells = [f"{v:.6g}" if np.isfinite(v) else "" for v in figures]
        writer.writerow([result.names[pair.a], result.names[pair.b], result.metric, *cells, better])
    return text.getvalue()


def as_json(result: Comparison) -> dict[str, Any]:
    """Everything; what is not defined is null."""

    def plain(value: float) -> float | None:
        return float(value) if np.isfinite(value) else None

    return {
        "summary": summary(result),
        "metric": result.metric,
        "by": result.by,
        "resamples": result.resamples,
        "seed": result.seed,
        "pages": result.pages,
        "writers": result.writers,
        "writers_known": result.writers_known,
        "left_out": result.left_out,
        "reference": None if result.reference is None else result.names[result.reference],
        "constant": result.names[result.constant],
        "constant_in_hindsight": result.hindsight,
        "models": {
            result.names[i]: {result.metric: plain(result.scores[i]), "interval": list(map(plain, result.intervals[i]))}
            for i in result.ranking
        },
        "pairs": [
            {
                "a": result.names[pair.a],
                "b": result.names[pair.b],
                "difference": plain(pair.difference),
                "interval": list(map(plain, pair.interval)),
                "p": plain(pair.p),
                "p_holm": plain(pair.p_holm),
                "differ": pair.differ,
            }
            for pair in _ordered(result)
        ],
    }


def p_text(p: float) -> str:
    """`0.034`; `<0.001`; `–` where there is none."""
    if not np.isfinite(p):
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _titled(metric: str) -> str:
    unit = _UNITS.get(metric, "percent")
    return f"{metric} ({unit})" if unit else metric


def _ordered(result: Comparison) -> list[Pair]:
    """Pairs by the rank of their models, the better one first where all pairs are compared."""
    rank = {model: place for place, model in enumerate(result.ranking)}
    pairs = result.pairs
    if result.reference is None:
        pairs = [pair if rank[pair.a] < rank[pair.b] else _turned(pair) for pair in pairs]
    return sorted(pairs, key=lambda pair: (rank[pair.a], rank[pair.b]))


def _turned(pair: Pair) -> Pair:
    low, high = pair.interval
    return Pair(pair.b, pair.a, -pair.difference + 0.0, (-high + 0.0, -low + 0.0), pair.p, pair.p_holm)


def _finding(result: Comparison, pair: Pair) -> str:
    return result.names[_better(result, pair)] if pair.differ else "not shown"


def _better(result: Comparison, pair: Pair) -> int:
    if result.metric == "Bias":
        return pair.a if abs(result.scores[pair.a]) < abs(result.scores[pair.b]) else pair.b
    return pair.a if (pair.difference > 0) == (result.metric in metrics.HIGHER_IS_BETTER) else pair.b


def _other(pair: Pair, one: int) -> int:
    return pair.b if pair.a == one else pair.a


def _beats_constant(result: Comparison, pair: Pair) -> bool:
    return result.constant in (pair.a, pair.b) and _better(result, pair) != result.constant


def _signed(value: float) -> str:
    return f"{np.round(value, 2) + 0.0:+.2f}".replace("-", "−") if np.isfinite(value) else "–"
