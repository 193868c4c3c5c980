"""The ensemble of a run: learnt from its rows of the split `val`, scored once, written beside its members."""

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.evaluation.ensembles.methods import METHODS, inner_folds
from age_keras.evaluation.ensembles.table import Row, learnt_rows, match, published_rows
from age_keras.predictions.alignment import Aligned, align
from age_keras.predictions.intervals import add_intervals
from age_keras.predictions.table import select


def add_ensemble(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Adds the combination that the validation pages choose to a run's predictions, as one more model.

    Its rows of the split `val` are cross-fitted by writer, so that they can calibrate its intervals: each was combined
    by what other writers' pages taught.

    Args:
        frame: predictions of two models or more, with rows of the splits `val` and `test`.

    Returns:
        The predictions with the rows of `ensemble (<method>)` and with intervals; and sentences for the report.

    Raises:
        InputError: one model, no rows of `val`, or more than one fold.
    """
    if frame.Model.nunique() < 2:
        raise InputError(f"An ensemble needs two models or more. Received: {frame.Model.iloc[0]}.")
    if not {"val", "test"} <= set(frame.Split):
        raise InputError(
            "An ensemble of a run is learnt from its rows of the split `val` and scored on those of `test`."
        )
    learn = align(select(frame, "val"))
    scored = match(learn, align(select(frame, "test")))
    best, *_ = learnt_rows(learn, scored)
    name = f"ensemble ({best.method})"
    held_out = _cross_fitted(learn, best.method)
    rows = [
        learn.pages.assign(Prediction=held_out, Model=name),
        scored.pages.assign(Prediction=best.predictions, Model=name),
    ]
    bounded = add_intervals(pd.concat(rows, ignore_index=True))
    return pd.concat([frame, bounded], ignore_index=True), _notes(
        best, learn, scored, float(np.abs(held_out - learn.truth).mean())
    )


def _cross_fitted(learn: Aligned, method: str) -> np.ndarray:
    folds = inner_folds(learn.writers)
    if folds.max() < 1:
        raise InputError("An ensemble needs validation pages of two writers or more.")
    values = np.empty(len(folds))
    for fold in range(folds.max() + 1):
        out = folds == fold
        ensemble = METHODS[method](learn.predictions[:, ~out], learn.truth[~out], learn.writers[~out])
        values[out] = ensemble.combine(learn.predictions[:, out])
    return values


def _notes(best: Row, learn: Aligned, scored: Aligned, error: float) -> list[str]:
    weights = best.weight_map
    how = (
        "weights " + ", ".join(f"{model} {weight:g}" for model, weight in weights.items())
        if weights
        else "not a weighted mean"
    )
    notes = [
        f"The ensemble was chosen and learnt from the {len(learn.pages)} validation pages alone: {best.method}, {how}; "
        f"MAE {error:.2f} there (cross-fitted by writer), {best.scores['MAE']:.2f} on the scored pages."
    ]
    if len(learn.models) <= 10:  # The published grid has steps of 0.1, at least one for each member.
        rows = published_rows(learn, scored, [learn.models])
        figures = ", ".join(f"{row.title} {row.scores['MAE']:.2f}" for row in rows)
        notes.append(f"The published study's weightings of the same models have MAE: {figures}.")
    return notes
