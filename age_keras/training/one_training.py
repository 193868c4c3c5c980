"""One training of an experiment: one backbone, trained on one part of the pages, and the record that it leaves.

A training ends in a record under the run's `state/`, so a finished one is never repeated, in whatever order or process
the trainings of an experiment run.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.config.serialization import to_dict
from age_keras.files import atomic_write
from age_keras.predictions.intervals import add_intervals
from age_keras.predictions.table import write_predictions
from age_keras.run import tensorboard
from age_keras.run.bundle import save_bundle
from age_keras.run.folder import versions
from age_keras.training.heads.linear import TrainedHead
from age_keras.training.model_pool import ModelPool
from age_keras.training.protocol import Part, Trained, train, with_backbone
from age_keras.training.study import Study

PASSED_ON = ("Sex", "Hand", "Source")


def training_label(backbone: str, part: Part) -> str:
    """Names a training in files: `resnet50`, or `resnet50-fold2`."""
    return f"{backbone}-{part.label}" if part.label else backbone


def record_file(study: Study, backbone: str, part: Part) -> Path:
    """The file under the run's `state/` that holds the predictions of a finished training."""
    return study.run.file("state", f"{training_label(backbone, part)}.csv")


def train_one(
    study: Study,
    backbone: str,
    part: Part,
    count: str = "",
    progress: bool = True,
    head: TrainedHead | None = None,
    pool: ModelPool | None = None,
) -> None:
    """Trains one backbone on one part, saves the model with its facts, and records its predictions.

    An interrupted training resumes from its last saved epoch; a finished one is left alone.

    Args:
        study: The opened experiment.
        backbone: The backbone's name.
        part: The pages to train on, to choose the epoch with, and to score.
        count: The training's place among others, for the progress bar. Defaults to none.
        progress: Whether to show progress bars. Defaults to `True`.
        head: The result of the frozen phase, where it was trained together with others. Defaults to `None`.
        pool: Keeps the model for the next training. Defaults to `None`.
    """
    label, run = training_label(backbone, part), study.run
    done, state = record_file(study, backbone, part), run.file("state", f"{label}.npz")
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
    record_training(study, backbone, part, trained)
    state.unlink(missing_ok=True)


def record_training(study: Study, backbone: str, part: Part, trained: Trained) -> None:
    """Saves a trained model with its facts, and records its predictions: the training is finished.

    Args:
        study: The opened experiment.
        backbone: The backbone's name.
        part: The pages it was trained on.
        trained: The result of the training.
    """
    label, run, config = training_label(backbone, part), study.run, with_backbone(study.config, backbone)
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
            "bands": list(config.bands),
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
    write_predictions(record_file(study, backbone, part), predictions)


def gather(study: Study, trainings: Sequence[tuple[str, Part]]) -> pd.DataFrame:
    """Puts the records of trainings (backbone, part) together, with intervals: `predictions.csv` and `history.csv`."""
    labels = [training_label(backbone, part) for backbone, part in trainings]
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
