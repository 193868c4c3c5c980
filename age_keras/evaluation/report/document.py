"""An evaluation as one document: JSON for programs, Markdown for readers."""

from typing import Any

import numpy as np

from age_keras.evaluation import metrics
from age_keras.evaluation.checks import Check
from age_keras.evaluation.evaluate import Evaluation
from age_keras.evaluation.groups import MIN_WRITERS, gaps
from age_keras.evaluation.intervals.table import coverage_rows
from age_keras.evaluation.report import tables
from age_keras.evaluation.report.verdict import verdict

_SPLITS = {"oof": "out-of-fold predictions", "val": "the validation split", "test": "the test split"}


def as_json(result: Evaluation, checks: list[Check]) -> dict[str, Any]:
    """The whole evaluation in JSON values; what is not defined is null.

    `models` has for each model the metrics in `METRICS`: numbers, or by fold `{"mean": ..., "sd": ...}`, with the
    pooled figures in `pooled`. Everything else is pooled: `intervals` (95 %, `[low, high]`, with `Skill`), `skill`,
    `bands`, `per_writer`, `fairness` (a list of groups for each model), `sources`, `prediction_intervals` (coverage and
    width overall and by band, for each model).
    """
    models, names = range(len(result.models)), result.names
    document: dict[str, Any] = {
        "verdict": verdict(result),
        "split": result.split,
        "pages": len(result.aligned.pages),
        "writers": result.n_writers,
        "writers_from": result.writers_from,
        "synthetic": result.facts.synthetic,
        "models": {names[i]: _metrics(result, i) for i in models},
        "skill": {names[i]: result.skill[i] for i in models},
        "baselines": {},
        "best_baseline": result.best_constant.name,
        "intervals": {},
        "bands": {names[i]: _bands(result, i) for i in range(len(names))},
        "per_writer": {n: {k: v[i] for k, v in result.writer_scores.items()} for i, n in enumerate(names)},
        "checks": [{**vars(c), "models": list(c.models), "page": f"docs/checks.md#{c.code.lower()}"} for c in checks],
    }
    for number, constant in enumerate(result.constants):
        low, high = float(constant.predictions.min()), float(constant.predictions.max())
        facts = {"label": constant.label, "years": low if low == high else [low, high], "hindsight": constant.hindsight}
        document["baselines"][constant.name] = {**facts, **_metrics(result, len(models) + number)}
    for i, name in enumerate(names):
        document["intervals"][name] = {metric: v[i] for metric, v in result.intervals.items()}
        if i in models:
            document["intervals"][name]["Skill"] = result.skill_interval[i]
    if result.folds is not None:
        document["ddof"] = result.ddof
        document["pooled"] = {n: {k: result.scores[k][i] for k in metrics.METRICS} for i, n in enumerate(names)}
    if result.coverage is not None:
        document["coverage"] = {
            names[i]: dict(zip(("percent", "width"), result.coverage[i], strict=True)) for i in models
        }
        document["prediction_intervals"] = {names[i]: coverage_rows(result.aligned, i, result.edges) for i in models}
    if result.groups:
        document["fairness"] = {names[i]: [_of(group, i) for group in result.groups] for i in models}
        document["fairness_gaps"] = {names[i]: [_of(g, i) for g in gaps(result.groups, len(models))] for i in models}
    if result.sources:
        document["sources"] = [_source(result, source) for source in result.sources]
    return _json_values(document)


def as_markdown(result: Evaluation, checks: list[Check]) -> str:
    """The verdict, the table of metrics, intervals, bands, checks and groups."""
    best = result.best_model
    parts = [verdict(result), introduction(result), tables.metric_table(result)]
    if result.folds is not None:
        parts += ["## Pooled", "All pages together, whatever their fold.", tables.pooled_table(result)]
    parts += ["## 95% intervals", interval_note(result), tables.interval_table(result)]
    parts += ["## Error by age band", tables.band_table(result)]
    if result.n_writers < len(result.aligned.pages):
        parts += ["## By writer", "Each writer's pages averaged first.", tables.writer_table(result)]
    parts += ["## Checks", check_list(checks)]
    if result.sources:
        parts += ["## Within each source", tables.source_table(result, [best])]
    if result.groups:
        parts += [
            f"## By group: {result.models[best]}",
            group_note(),
            tables.group_table(result, best, groups="single"),
        ]
    return "\n\n".join(parts) + "\n"


def introduction(result: Evaluation) -> str:
    """What was scored, and what the table shows."""
    pages, writers = len(result.aligned.pages), result.n_writers
    of = _SPLITS.get(result.split, f"the split {result.split}")
    known = " (from the HHD names)" if result.writers_from == "name" else ""
    who = f"{pages} pages of {writers} writers{known}" if result.writers_from != "page" else f"{pages} pages"
    text = f"Scored: {who}, {of}. Errors in years."
    if result.folds is not None:
        n = result.folds["MAE"].shape[1]
        spread = "n−1" if result.ddof == 1 else f"n−{result.ddof}" if result.ddof else "n"
        text += f" Mean ± standard deviation over {n} folds (dividing by {spread}); skill and intervals pool all pages."
    skill = f"Skill is 1 − MAE / MAE of the best constant ({result.best_constant.label})."
    return f"{text} {skill}"


def interval_note(result: Evaluation) -> str:
    return f"Bootstrap over writers, {result.resamples:,} resamples, percentiles; pooled over all pages."


def group_note() -> str:
    return (
        f"Bias is prediction − truth. * fewer than {MIN_WRITERS} writers: no conclusion can be drawn. "
        "The JSON has every model."
    )


def check_list(checks: list[Check]) -> str:
    """The checks that found something, worst first."""
    if not checks:
        return "No check found anything."
    order = {"error": 0, "warning": 1, "note": 2}
    ranked = sorted(checks, key=lambda c: (order[c.severity], c.code))
    return "\n".join(f"- **{c.code} {c.title}** ({c.severity}): {c.message} {c.advice}" for c in ranked)


def _metrics(result: Evaluation, i: int) -> dict[str, Any]:
    if result.folds is None:
        return {name: result.scores[name][i] for name in metrics.METRICS}
    return {n: {"mean": result.headline(n)[i], "sd": result.deviation(n)[i]} for n in metrics.METRICS}


def _bands(result: Evaluation, i: int) -> dict[str, dict]:
    return {band: _of(values, i) for band, values in result.bands.items()}


def _of(values: dict[str, Any], i: int) -> dict[str, Any]:
    """One model's part of a dictionary whose arrays and lists have a row for each."""
    return {k: v[i] if isinstance(v, np.ndarray | list) else v for k, v in values.items()}


def _source(result: Evaluation, source: dict[str, Any]) -> dict[str, Any]:
    m = len(result.models)
    plain = {k: v for k, v in source.items() if not isinstance(v, np.ndarray) and k != "constant"}
    each = {result.models[i]: {k: source[k][i] for k in ("MAE", "Skill", "Skill_interval")} for i in range(m)}
    return {**plain, "constant": source["constant"].years, "constant_name": source["constant"].name, "models": each}


def _json_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _json_values(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value):
        return [_json_values(v) for v in value]
    if isinstance(value, np.generic | np.ndarray):
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
