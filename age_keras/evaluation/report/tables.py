"""An evaluation as tables: Markdown, csv and LaTeX."""

import csv
import io
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from age_keras.evaluation import metrics
from age_keras.evaluation.evaluate import Evaluation
from age_keras.evaluation.text import bounds, markdown, number

TITLES = {
    "R2": "R²",
    "MAPE": "MAPE %",
    "Acc_2yr": "±2 yr %",
    "Acc_5yr": "±5 yr %",
    "Acc_10yr": "±10 yr %",
    "Max_Error": "Max",
    "Min_Error": "Min",
    "Median_Error": "Median",
}


def name_of(result: Evaluation, row: int) -> str:
    """A model's name, or `constant 15 (median of the training writers)`."""
    if row < len(result.models):
        return result.models[row]
    constant = result.constants[row - len(result.models)]
    return f"constant {constant.years} ({constant.label})"


def by_error(result: Evaluation) -> list[int]:
    """Models and constants in the order of their MAE, best first."""
    return [int(i) for i in np.argsort(result.headline("MAE"), kind="stable")]


def metric_table(result: Evaluation) -> str:
    """All metrics of models and constants, best first; by fold as mean ± standard deviation."""
    if result.folds is not None:
        return _metric_table(result, _figure)
    return pooled_table(result)


def pooled_table(result: Evaluation) -> str:
    """All metrics of models and constants over all pages together."""
    return _metric_table(result, lambda r, metric, i: number(r.scores[metric][i]))


def _metric_table(result: Evaluation, figure: Callable[[Evaluation, str, int], str]) -> str:
    header = ["", "Skill", *(TITLES.get(name, name) for name in metrics.METRICS)]
    rows = []
    for i in by_error(result):
        skill = number(result.skill[i]) if i < len(result.models) else ("0" if _is_best(result, i) else "")
        rows.append([name_of(result, i), skill, *(figure(result, metric, i) for metric in metrics.METRICS)])
    return markdown(header, rows)


def interval_table(result: Evaluation) -> str:
    """95 % intervals by bootstrap over writers; pooled over all pages."""
    names = ("MAE", "RMSE", "R2", "Acc_5yr", "Median_Error", "Bias")
    header = ["", "Skill", *(TITLES.get(name, name) for name in names)]
    rows = []
    for i in (i for i in by_error(result) if i < len(result.models) or _is_best(result, i)):
        skill = bounds(result.skill_interval[i]) if i < len(result.models) else ""
        rows.append([name_of(result, i), skill, *(bounds(result.intervals[name][i]) for name in names)])
    return markdown(header, rows)


def band_table(result: Evaluation) -> str:
    """MAE with its interval in each age band, and the mean over bands."""
    titles = [
        "macro" if band == "macro" else f"{band} ({_count(v['n'], 'page')}, {_count(v['writers'], 'writer')})"
        for band, v in result.bands.items()
    ]
    rows = []
    for i in (i for i in by_error(result) if i < len(result.models) or _is_best(result, i)):
        cells = [f"{number(v['MAE'][i])} ({bounds(v['MAE_interval'][i], 1)})" for v in result.bands.values()]
        rows.append([name_of(result, i), *cells])
    return markdown(["MAE", *titles], rows)


def writer_table(result: Evaluation) -> str:
    """The metrics with each writer's pages averaged first."""
    names = ("MAE", "RMSE", "R2", "Acc_2yr", "Acc_5yr", "Acc_10yr", "Bias")
    order = np.argsort(result.writer_scores["MAE"], kind="stable")
    rows = [[name_of(result, int(i)), *(number(result.writer_scores[name][i]) for name in names)] for i in order]
    return markdown(["", *(TITLES.get(name, name) for name in names)], rows)


def group_table(result: Evaluation, model: int, groups: Literal["single", "crossed"]) -> str:
    """Error, bias and coverage of one model by group: of single attributes, or of their crossings."""
    coverage = any("Coverage" in group for group in result.groups)
    header = ["Group", "Pages", "Writers", "MAE", "95% interval", "Bias", "95% interval"]
    header += ["Coverage %", "95% interval"] if coverage else []
    rows = []
    for group in result.groups:
        if ("×" in group["attribute"]) != (groups == "crossed"):
            continue
        star = " *" if group["few_writers"] else ""
        row = [f"{group['attribute']}: {group['group']}{star}", str(group["n"]), str(group["writers"])]
        for name, digits in (("MAE", 2), ("Bias", 2), ("Coverage", 1))[: 3 if coverage else 2]:
            row += [number(group[name][model], digits), bounds(group[f"{name}_interval"][model], digits)]
        rows.append(row)
    return markdown(header, rows)


def source_table(result: Evaluation, models: Sequence[int]) -> str:
    """Skill within each source against that source's own constant."""
    header = ["Source", "Pages", "Writers", "Own constant", "MAE", *(f"Skill of {result.models[m]}" for m in models)]
    rows = []
    for s in result.sources:
        skill = [f"{number(s['Skill'][m])} ({bounds(s['Skill_interval'][m])})" for m in models]
        constant = s["constant"].years + (" (in hindsight)" if s["constant"].hindsight else "")
        rows.append([s["source"], str(s["n"]), str(s["writers"]), constant, number(s["constant_MAE"]), *skill])
    return markdown(header, rows)


def csv_table(result: Evaluation) -> str:
    """A row for each model in the order of the predictions, then each constant; columns as in the published tables.

    By fold the columns are `MAE_mean, MAE_std, ...`. Figures have two decimals, as published; JSON has all of them.
    """
    names = metrics.METRICS
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if result.folds is None:
        writer.writerow(["Model", *names, "Skill"])
    else:
        writer.writerow(["Model", *(f"{name}_{kind}" for name in names for kind in ("mean", "std")), "Skill"])
    for i in range(len(result.names)):
        figures = []
        for name in names:
            figures.append(result.headline(name)[i])
            if result.folds is not None:
                figures.append(result.deviation(name)[i])
        skill = result.skill[i] if i < len(result.models) else np.nan
        writer.writerow([name_of(result, i), *(_plain(v) for v in (*figures, skill))])
    return text.getvalue()


def latex_table(result: Evaluation) -> str:
    """A `tabular` with the rules of the package booktabs, best first."""
    titles = {**TITLES, "R2": "$R^2$", "MAPE": "MAPE (\\%)"}
    titles |= {f"Acc_{n}yr": f"$\\pm${n} yr (\\%)" for n in (2, 5, 10)}
    names = [name for name in metrics.METRICS if name != "Min_Error"]
    lines = [
        f"\\begin{{tabular}}{{l{'r' * (len(names) + 1)}}}",
        "\\toprule",
        " & ".join(["Model", "Skill", *(titles.get(name, name) for name in names)]) + " \\\\",
        "\\midrule",
    ]
    for i in by_error(result):
        skill = number(result.skill[i]) if i < len(result.models) else ""
        cells = [_escaped(name_of(result, i)), skill, *(_figure(result, name, i) for name in names)]
        row = " & ".join(cells).replace("±", "$\\pm$").replace("–", "--")
        lines.append(f"{row.replace(' -', ' $-$')} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def _figure(result: Evaluation, metric: str, i: int) -> str:
    text = number(result.headline(metric)[i])
    return text if result.folds is None else f"{text} ± {number(result.deviation(metric)[i])}"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"


def _is_best(result: Evaluation, row: int) -> bool:
    return row == len(result.models) + result.best


def _plain(value: float) -> str:
    return str(np.round(float(value), 2) + 0.0) if np.isfinite(value) else ""


def _escaped(text: str) -> str:
    for character in "\\&%$#_{}":
        text = text.replace(character, f"\\{character}" if character != "\\" else "\\textbackslash ")
    return text
