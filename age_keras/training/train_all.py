"""The trainings of an experiment, each backbone on each part: one after the other, or several at a time."""

from collections.abc import Sequence

import pandas as pd

from age_keras.training.distributed.fan_out import fan_out
from age_keras.training.heads.batched import train_heads
from age_keras.training.model_pool import ModelPool
from age_keras.training.one_training import gather, record_file, train_one
from age_keras.training.protocol import Part, with_backbone
from age_keras.training.study import Study


def train_all(study: Study, parts: Sequence[Part], progress: bool = True) -> pd.DataFrame:
    """Trains each backbone on each part, skipping what is finished, and writes predictions and history.

    The trainings run one after the other, or several at a time in other processes (`runtime.workers`, see `fan_out`).

    Args:
        study: The opened experiment.
        parts: One for a hold-out, one a fold for a cross-validation.
        progress: Whether to show progress bars. Defaults to `True`.

    Returns:
        The predictions, as written to `predictions.csv`.
    """
    trainings = [(backbone, part) for backbone in study.config.backbones for part in parts]
    if study.config.runtime.workers != 1:
        fan_out(study, trainings, parts, progress=progress)
        return gather(study, trainings)
    number, pool = 0, ModelPool()
    for backbone in study.config.backbones:
        unfinished = [part for part in parts if not record_file(study, backbone, part).exists()]
        heads = train_heads(study, with_backbone(study.config, backbone), parts, pool) if unfinished else None
        for place, part in enumerate(parts):
            head = heads[place] if heads else None
            number += 1
            train_one(study, backbone, part, f"[{number}/{len(trainings)}]", progress, head, pool)
    return gather(study, trainings)
