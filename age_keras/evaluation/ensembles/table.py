"""Ensembles of the models of a table, learnt on validation pages and scored once on others."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.evaluation import metrics
from age_keras.evaluation.ensembles import methods as ensembles
from age_keras.evaluation.ensembles.methods import METHODS, Ensemble, chosen, grid_search, mae_based
from age_keras.evaluation.text import markdown, number
from age_keras.predictions.alignment import Aligned

MOST_FOR_SUBSETS = 6  # members, up to which every subset gets the published weightings
PUBLISHED_COLUMNS = {
    "MAE": "MAE",
    "RMSE": "RMSE",
    "R2": "R2",
    "MAPE": "MAPE (%)",
    "Acc_2yr": "Within ±2 Years (%)",
    "Acc_5yr": "Within ±5 Years (%)",
    "Max_Error": "Max Error",
    "Min_Error": "Min Error",
    "Median_Error": "Median Error",
}
TITLES = {"grid_search": "Grid Search", "mae_based": "MAE-based"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One ensemble and its figures.

    Attributes:
        group: `Full Ensemble`, `Best 3` (by validation MAE), or how many members it has.
        method: its name in the library; `title` is that of the published tables.
        members: the models.
        weights: one a member, or None where the combination is no weighted mean.
        val_mae: error on the pages it was learnt from, years.
        scores: metric to figure on the scored pages.
        predictions: years, of the scored pages.
    """

    group: str
    method: str
    members: tuple[str, ...]
    weights: np.ndarray | None
    val_mae: float
    scores: dict[str, float]
    predictions: np.ndarray

    @property
    def title(self) -> str:
        return TITLES.get(self.method, self.method)

    @property
    def weight_map(self) -> dict[str, float] | None:
        """Member to weight, rounded to two digits as published."""
        if self.weights is None:
            return None
        return {m: round(float(w), 2) for m, w in zip(self.members, self.weights, strict=True)}


def match(validation: Aligned, scored: Aligned) -> Aligned:
    """The scored pages with the models in the order of the validation pages.

    Raises:
        InputError: a model has no scored predictions, or a writer's pages are in both tables.
    """
    if missing := [m for m in validation.models if m not in scored.models]:
        raise InputError(f"The scored predictions lack the model {missing[0]!r}; they have {', '.join(scored.models)}.")
    for column, what in (("ImageID", "page"), ("Writer", "writer")):
        if shared := set(validation.pages[column]) & set(scored.pages[column]):
            raise InputError(
                f"{len(shared)} {what}s are in both tables ({min(shared)}): weights must be learnt on {what}s that are "
                "not scored."
            )
    order = [scored.models.index(m) for m in validation.models]
    return dataclasses.replace(
        scored, models=validation.models, predictions=scored.predictions[order], lower=None, upper=None
    )


def published_rows(
    validation: Aligned, scored: Aligned, groups: Sequence[Sequence[str]] = (), step: float = 0.1
) -> list[Row]:
    """The two published weightings for groups of members.

    Args:
        validation, scored: the same models in the same order, from `match`.
        groups: names of the members of each group. Defaults to every subset of two or more of up to six models, and
            to the best k by validation MAE of more.
        step: of the grid.

    Returns:
        Rows by MAE on the scored pages.
    """
    errors = np.abs(validation.predictions - validation.truth).mean(axis=1)
    by_error = np.argsort(errors, kind="stable")
    everyone = range(len(errors))
    if groups:
        sets = [_members(validation, group) for group in groups]
    elif len(errors) <= MOST_FOR_SUBSETS:
        sets = [s for size in everyone for s in itertools.combinations(everyone, size + 1) if size]
    else:
        sets = [tuple(by_error[:size]) for size in range(2, len(errors) + 1)]
    rows = []
    for members in sets:
        best = set(by_error[: len(members)]) == set(members)
        group = "Full Ensemble" if len(members) == len(errors) else f"{'Best ' if best else ''}{len(members)}"
        for fit in (lambda p, t, w: grid_search(p, t, w, step), mae_based):
            rows.append(_row(validation, scored, members, fit, group if best else f"{group} members"))
    return sorted(rows, key=lambda row: row.scores["MAE"])


def learnt_rows(validation: Aligned, scored: Aligned) -> list[Row]:
    """Every method of the library on all members; the first row is the one chosen on the validation pages alone."""
    everyone = range(len(validation.models))
    rows = [_row(validation, scored, everyone, fit, "Full Ensemble") for fit in METHODS.values()]
    pick = chosen(validation.predictions, validation.truth, validation.writers).method
    return sorted(rows, key=lambda row: row.method != pick)


def cross_fitted(table: Aligned) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
    """Ensembles of out-of-fold predictions: each fold is combined by what the other folds' pages taught.

    Args:
        table: out-of-fold predictions with two folds or more, no writer in two of them.

    Returns:
        (method, predictions (N,)) for `chosen` and for each method; and the method chosen in each fold.

    Raises:
        InputError: no folds, or a writer in two folds.
    """
    folds = table.pages.Fold.to_numpy()
    if len(np.unique(folds)) < 2:
        raise InputError("One table was given, without folds: give validation and test predictions, or a column Fold.")
    per_writer = pd.Series(folds).groupby(table.pages.Writer.to_numpy()).nunique()
    if (per_writer > 1).any():
        name = per_writer.index[per_writer > 1][0]
        raise InputError(f"Writer {name} has pages in two folds: weights would be learnt on a scored writer.")
    picks: list[str] = []

    def pick(*validation) -> Ensemble:
        ensemble = chosen(*validation)
        picks.append(ensemble.method)
        return ensemble

    results = []
    for name, fit in {"chosen": pick, **METHODS}.items():
        predictions = np.empty(len(folds))
        for fold in np.unique(folds):
            learn, score = folds != fold, folds == fold
            ensemble = fit(table.predictions[:, learn], table.truth[learn], table.writers[learn])
            predictions[score] = ensemble.combine(table.predictions[:, score])
        results.append((name, predictions))
    return results, picks


def as_published(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as the study prints them: its columns, two digits."""
    return pd.DataFrame(
        {
            "Ensemble Group": row.group,
            "Method": row.title,
            "Val_MAE": round(row.val_mae, 2),
            "Weights": json.dumps(row.weight_map) if row.weights is not None else "",
            **{title: round(row.scores[name], 2) for name, title in PUBLISHED_COLUMNS.items()},
        }
        for row in rows
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    header = ["Ensemble", "Method", "Val. MAE", "MAE", "RMSE", "R2", "±2 y (%)", "±5 y (%)", "Weights"]
    lines = []
    for row in rows:
        weights = row.weight_map
        text = ", ".join(f"{m} {w:g}" for m, w in weights.items() if w) if weights else "not a weighted mean"
        figures = [number(row.scores[m]) for m in ("MAE", "RMSE", "R2", "Acc_2yr", "Acc_5yr")]
        lines.append([row.group, row.title, number(row.val_mae), *figures, text])
    return markdown(header, lines)


def _row(validation: Aligned, scored: Aligned, members: Sequence[int], fit: Callable, group: str) -> Row:
    rows = list(members)
    ensemble: ensembles.Ensemble = fit(validation.predictions[rows], validation.truth, validation.writers)
    predictions = ensemble.combine(scored.predictions[rows])
    learnt = np.abs(ensemble.combine(validation.predictions[rows]) - validation.truth).mean()
    scores = {name: float(value) for name, value in metrics.score(scored.truth, predictions).items()}
    names = tuple(validation.models[i] for i in rows)
    return Row(group, ensemble.method, names, ensemble.weights, float(learnt), scores, predictions)


def _members(table: Aligned, names: Sequence[str]) -> tuple[int, ...]:
    for name in names:
        if name not in table.models:
            raise InputError(f"There is no model {name!r} in the predictions; they have {', '.join(table.models)}.")
    if len(set(names)) < 2:
        raise InputError(f"An ensemble needs two members or more. Received: {', '.join(names)}.")
    return tuple(table.models.index(name) for name in names)
