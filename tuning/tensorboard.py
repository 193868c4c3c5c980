"""A search in TensorBoard: HParams with every trial's parameters and metrics, the folds' figures, the curves of epochs.

tensorboard --logdir runs/search/<run>/tensorboard/trials
"""

import shutil
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from tuning.trials import ENDED, TrialRecord, Trials


def write_board(folder: Path, trials: Trials) -> None:
    """Writes all ended trials anew.

    Args:
        folder: the log folder; each trial gets one of its own, named after it.
        trials: the records.
    """
    if folder.exists():
        shutil.rmtree(folder)
    for record in trials.all():
        if record.status in ENDED:
            _write_trial(folder / record.trial, record, trials.objective.name)


def _write_trial(folder: Path, record: TrialRecord, objective: str) -> None:
    curve = "val_error" if objective == "error" else "val_mae"
    with tf.summary.create_file_writer(str(folder)).as_default():
        hparams.hparams({**record.parameters, "status": record.status}, trial_id=record.trial)
        if record.objective is not None:
            tf.summary.scalar(f"trial/{objective}", record.objective, step=0)
            tf.summary.scalar("trial/sd", record.sd or 0.0, step=0)
        for fold in record.folds:
            for name, value in fold.items():
                if value is not None and name in ("mae", "skill", "band_mae", "error", "seconds"):
                    tf.summary.scalar(f"fold/{name}", value, step=fold["fold"])
            for epoch, value in enumerate(fold.get("curve", ())):
                tf.summary.scalar(f"fold{fold['fold']}/{curve}", value, step=epoch)
