"""Combine models: the published weightings, and better ones, learnt on validation pages alone."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from age_keras.errors import InputError
from age_keras.evaluation import metrics
from age_keras.evaluation.ensembles.table import (
    Row,
    as_markdown,
    as_published,
    cross_fitted,
    learnt_rows,
    match,
    published_rows,
)
from age_keras.evaluation.text import markdown, number
from age_keras.files import writing
from age_keras.predictions.alignment import Aligned, align
from age_keras.predictions.table import read_predictions, select, write_predictions


def main(
    validation: tyro.conf.Positional[Path],
    test: tyro.conf.Positional[Path | None] = None,
    members: Annotated[tuple[str, ...], tyro.conf.arg(metavar="A,B,C...")] = (),
    step: float = 0.1,
    format: Literal["md", "csv", "json"] = "md",
    out: Path | None = None,
) -> None:
    """Combines models, with weights learnt on validation pages and scored once on test pages.

    One table is enough where it has both splits, val and test; or out-of-fold predictions, where each fold is combined
    by what the other folds taught.

    Args:
        validation: Predictions that the weights are learned from, long or wide; or a run's folder.
        test: Predictions to score. Defaults to none: VALIDATION has them too, or is out of fold.
        members: Groups of models for the published weightings, each a comma-separated list. Defaults to every subset
            of up to six models.
        step: Step of the published grid search.
        format: Output format; csv has the published tables' columns.
        out: File to write the chosen combination's predictions to.
    """
    if not 0 < step <= 0.5 or abs(1 / step - round(1 / step)) > 1e-9:
        raise InputError(f"--step must be one over a whole number, e.g. 0.1. Received: {step}.")
    frame = read_predictions(validation)
    splits = set(frame.Split)
    within = test is None and {"val", "test"} <= splits
    if test is None and not within and "oof" not in splits:
        raise InputError(
            f"{validation} alone has neither folds nor the splits val and test: give validation and test predictions, "
            "or a column Fold."
        )
    learn = align(select(frame, ("val" if "val" in splits else None) if test or within else "oof"))
    if len(learn.models) < 2:
        raise InputError(f"{validation} has one model, {learn.models[0]}: an ensemble needs two or more.")
    if test or within:
        scored = select(read_predictions(test) if test else frame, "test" if within else None)
        text, frame = _split(learn, match(learn, align(scored)), members, step, format)
    else:
        text, frame = _cross_fitted(learn, format)
    sys.stdout.write(text)
    if out:
        with writing(out):
            write_predictions(out, frame)


def _split(learn: Aligned, scored: Aligned, members: tuple[str, ...], step: float, format: str):
    groups = [[name.strip() for name in group.split(",")] for group in members]
    published, learnt = published_rows(learn, scored, groups, step), learnt_rows(learn, scored)
    frame = scored.pages.assign(Prediction=learnt[0].predictions, Model=f"ensemble ({learnt[0].method})")
    if format == "csv":
        return as_published([*published, *learnt]).to_csv(index=False), frame
    if format == "json":
        rows = {"chosen": _json(learnt[0]), "ensembles": [_json(row) for row in [*published, *learnt]]}
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n", frame
    named = [row for row in published if groups or not row.group.endswith("members")]
    parts = [
        f"Chosen on the validation pages: {learnt[0].title}, MAE {learnt[0].scores['MAE']:.2f} on the scored pages.",
        "## Published weightings",
        as_markdown(named),
        "## Learnt on validation, all members (the chosen one first)",
        as_markdown(learnt),
    ]
    return "\n\n".join(parts) + "\n", frame


def _cross_fitted(table: Aligned, format: str):
    results, picks = cross_fitted(table)
    folds = table.pages.Fold.to_numpy()
    singles = [(name, row) for name, row in zip(table.models, table.predictions, strict=True)]
    rows = []
    for name, predictions in [*results, *singles]:
        pooled = {metric: float(v) for metric, v in metrics.score(table.truth, predictions).items()}
        per_fold = metrics.by_fold(table.truth, predictions[None], folds)
        figures = {metric: (float(v.mean()), float(v.std(ddof=1))) for metric, v in per_fold.items()}
        rows.append((name, figures, pooled))
    frame = table.pages.assign(Prediction=results[0][1], Model="ensemble (chosen)")
    if format == "json":
        document = {
            "chosen_in_each_fold": picks,
            "ensembles": [
                {"method": name, "pooled": pooled, **{m: {"mean": a, "sd": b} for m, (a, b) in figures.items()}}
                for name, figures, pooled in rows
            ],
        }
        return json.dumps(document, indent=2) + "\n", frame
    header = ["Method", "MAE mean", "MAE sd", "Pooled MAE", "RMSE mean", "R2 mean"]
    lines = [
        [
            name,
            number(f["MAE"][0]),
            number(f["MAE"][1]),
            number(p["MAE"]),
            number(f["RMSE"][0]),
            number(f["R2"][0]),
        ]
        for name, f, p in rows
    ]
    if format == "csv":
        return "\n".join(",".join(line) for line in [header, *lines]) + "\n", frame
    best = min(rows[len(results) :], key=lambda row: row[1]["MAE"][0])
    sentence = (
        f"Weights learnt without the scored fold's writers: MAE {rows[0][1]['MAE'][0]:.2f} (mean of "
        f"{len(np.unique(folds))} folds), against {best[1]['MAE'][0]:.2f} of the best single model, {best[0]}. "
        f"Chosen inside each fold's training part: {', '.join(picks)}."
    )
    return f"{sentence}\n\n{markdown(header, lines)}\n", frame


def _json(row: Row) -> dict:
    weights = None if row.weights is None else dict(zip(row.members, map(float, row.weights), strict=True))
    figures = {"group": row.group, "method": row.title, "members": row.members, "weights": weights}
    return {**figures, "Val_MAE": row.val_mae, **row.scores}
