"""The trainings of an experiment, each backbone on each part: one after the other, each finished one kept.

A training is a unit: it ends in a record under the run's `state/`, so what is finished is never done twice, in whatever
order or process the units run.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.bands import BAND_EDGES
from age_keras.config.serialization import to_dict
from age_keras.conformal.intervals import add_intervals
from age_keras.files import atomic_write
from age_keras.models.bundle import save_bundle
from age_keras.predictions.table import write_predictions
from age_keras.run import tensorboard
from age_keras.run.folder import versions
from age_keras.training.heads.batched import train_heads
from age_keras.training.heads.linear import TrainedHead
from age_keras.training.model_pool import ModelPool
from age_keras.training.protocol import Part, Trained, train, with_backbone
from age_keras.training.study import Study

PASSED_ON = ("Sex", "Hand", "Source")


def train_all(study: Study, parts: Sequence[Part], progress: bool = True) -> pd.DataFrame:
    """Trains each backbone on each part, skipping what is finished, and writes predictions and history.

    One after the other, or several at a time in other processes (`runtime.workers`, see `fan_out`).

    Args:
        study: the opened experiment.
        parts: one for a hold-out, one a fold for a cross-validation.
        progress: show bars.

    Returns:
        The predictions, as written to `predictions.csv`.
    """
    units = [(backbone, part) for backbone in study.config.backbones for part in parts]
    if study.config.runtime.workers != 1:
        from age_keras.training.distributed.fan_out import fan_out

        fan_out(study, units, parts, progress=progress)
        return gather(study, units)
    number, pool = 0, ModelPool()
    for backbone in study.config.backbones:
        open_parts = [part for part in parts if not _record(study, backbone, part).exists()]
        heads = train_heads(study, with_backbone(study.config, backbone), parts, pool) if open_parts else None
        for part, head in zip(parts, heads or [None] * len(parts), strict=True):
            number += 1
            train_unit(study, backbone, part, f"[{number}/{len(units)}]", progress, head, pool)
    return gather(study, units)


def unit_label(backbone: str, part: Part) -> str:
    """Names a training in files: `resnet50`, or `resnet50-fold2`."""
    return f"{backbone}-{part.label}" if part.label else backbone


def _record(study: Study, backbone: str, part: Part) -> Path:
    """Where a finished training leaves its predictions."""
    return study.run.file("state", f"{unit_label(backbone, part)}.csv")


def train_unit(
    study: Study,
    backbone: str,
    part: Part,
    count: str = "",
    progress: bool = True,
    head: TrainedHead | None = None,
    pool: ModelPool | None = None,
) -> None:
    """One model on one part: trains it (or goes on), saves it with its facts, and records its predictions.

    Args:
        study: the opened experiment.
        backbone, part: the unit.
        count: what the progress bar says of its place among others.
        progress: show bars.
        head: phase 1's result, where it is there already.
        pool: keeps the model for the next training.
    """
    label, run = unit_label(backbone, part), study.run
    done, state = _record(study, backbone, part), run.file("state", f"{label}.npz")
    if done.exists():
        return
    config = with_backbone(study.config, backbone)
    board = run.path / "tensorboard" / label
    show = config.runtime.tensorboard
    trained = train(
        config,
        study.data,
        study.table,
        part,
        state,
        head,
        callbacks=(lambda phase: [tensorboard.scalar_callback(board)]) if show else None,
        title=f"{count} {label}",
        progress=progress,
        pool=pool,
    )
    record_unit(study, backbone, part, trained)
    state.unlink(missing_ok=True)


def record_unit(study: Study, backbone: str, part: Part, trained: Trained) -> None:
    """Saves a trained model with its facts, and records its predictions: the unit is finished.

    Args:
        study: the opened experiment.
        backbone, part: the unit.
        trained: what came of it.
    """
    label, run, config = unit_label(backbone, part), study.run, with_backbone(study.config, backbone)
    board, show = run.path / "tensorboard" / label, config.runtime.tensorboard
    predictions = _prediction_rows(study, trained.pages, backbone, part)
    scored = predictions[predictions["Split"] != "val"]
    error = (scored["Prediction"] - scored["TrueAge"]).abs().mean()
    if show:
        tensorboard.write_patches(board, trained.sample)
        tensorboard.write_result(board, scored, config, {"MAE": float(error)}, len(trained.history))
    calibration = predictions[predictions["Split"] == "val"]
    save_bundle(
        run.file("checkpoints", f"{label}.keras"),
        trained.model.predictor,
        {
            "kind": "age",
            "name": backbone,
            "model": to_dict(config.model),
            "pages": to_dict(config.pages),
            "bands": list(config.bands or BAND_EDGES),
            "synthetic": study.synthetic,
            "data_fingerprint": study.samples.fingerprint,
            "versions": versions(),
            # The pages that chose the epoch: held out from the weights, so they can calibrate intervals.
            "calibration": calibration[
                ["Writer", "TrueAge", "Prediction", *(c for c in ("Lower", "Upper") if c in calibration)]
            ].to_dict("list"),
        },
    )
    trained.history.insert(0, "model", backbone)
    trained.history.insert(1, "part", part.label)
    with atomic_write(run.file("state", f"{label}.history.csv")) as file:
        trained.history.to_csv(file, index=False)
    run.write_json(f"state/{label}.notes.json", trained.notes)
    write_predictions(_record(study, backbone, part), predictions)


def gather(study: Study, units: Sequence[tuple[str, Part]]) -> pd.DataFrame:
    """Puts the records of all trainings together, with intervals: `predictions.csv` and `history.csv`."""
    labels = [unit_label(backbone, part) for backbone, part in units]
    state = study.run.path / "state"
    records = [pd.read_csv(state / f"{label}.csv", dtype={"Writer": str}) for label in labels]
    predictions = add_intervals(pd.concat(records, ignore_index=True))
    write_predictions(study.run.file("predictions.csv"), predictions)
    with atomic_write(study.run.file("history.csv")) as file:
        pd.concat([pd.read_csv(state / f"{label}.history.csv") for label in labels]).to_csv(file, index=False)
    return predictions


def _prediction_rows(study: Study, pages: pd.DataFrame, backbone: str, part: Part) -> pd.DataFrame:
    """Rows of `predictions.csv`: the scored pages, and the pages that chose the epoch as `val`."""
    table = study.table.iloc[pages["page"]]
    scored = part.score[pages["page"].to_numpy()]
    rows = pd.DataFrame(
        {
            "ImageID": table["ImageID"].to_numpy(),
            "TrueAge": table["Age"].to_numpy(),
            "Prediction": pages["Prediction"].to_numpy(),
            "Model": f"{backbone}-{part.repeat}" if part.repeat else backbone,
            "Fold": part.fold,
            "Writer": table["Writer"].to_numpy(),
            "Split": np.where(scored, "oof" if part.fold else "test", "val"),
        }
    )
    for column in ("Lower", "Upper"):
        if column in pages:
            rows[column] = pages[column].to_numpy()
    for column in PASSED_ON:
        if column in table:
            rows[column] = table[column].to_numpy()
    return rows
