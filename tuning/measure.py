"""The end of a search: its choice and the default, each trained once, on writers that no trial saw."""

from dataclasses import replace

import keras_tuner
import numpy as np

from age_keras.training.one_training import gather, train_one
from age_keras.training.protocol import Part, with_backbone
from age_keras.training.study import Study
from tuning.outcome import Measured
from tuning.search_config import SearchConfig
from tuning.spaces import AGE_SPACES
from tuning.trials import TrialRecord


def chosen_config(base: SearchConfig, record: TrialRecord) -> SearchConfig:
    """The configuration of a trial."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(record.parameters)
    return AGE_SPACES[base.space](hp, base)


def measure(
    study: Study[SearchConfig], outer: Part, config: SearchConfig, trial: str, progress: bool = True
) -> Measured:
    """Trains the choice and the default on everything that the trials saw, and scores them on the rest, once.

    Both are kept as models, `checkpoints/<backbone>-trial<name>.keras` and `-default.keras`, and resume like any
    training.

    Args:
        study: the search's.
        outer: from `search_parts`.
        config: the choice.
        trial: its name.
        progress: show bars.
    """
    default = with_backbone(study.config, study.config.backbones[0])
    trainings = []
    for name, each in ((f"trial{trial}", config), ("default", default)):
        part = replace(outer, label=name, repeat=name)
        of_one = replace(study, config=each)
        trainings.append((each.backbone, part))
        train_one(of_one, each.backbone, part, f"[{len(trainings)}/2]", progress)
    predictions = gather(study, trainings)
    scored = predictions[predictions["Split"] == "test"]
    who = np.where(scored["Model"].str.endswith("-default"), "default", "chosen")
    wide = scored.assign(Model=who).pivot(index="ImageID", columns="Model", values="Prediction")
    pages = scored.drop_duplicates("ImageID").set_index("ImageID")[["Writer", "TrueAge"]]
    constant = float(study.table[outer.learn].groupby("Writer")["Age"].median().median())
    return Measured(pages.join(wide).dropna(subset=["TrueAge"]).reset_index(), constant)
