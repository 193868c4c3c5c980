"""The end of a search: its choice and the default, each trained once, on writers that no trial saw."""

from dataclasses import dataclass, replace

import keras_tuner
import numpy as np
import pandas as pd

from age_keras.training.one_training import gather, train_one
from age_keras.training.protocol import Part, with_backbone
from age_keras.training.study import Study
from tuning.search_config import SearchConfig
from tuning.spaces import AGE_SPACES
from tuning.trials import TrialRecord

RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """The choice and the default on the outer writers.

    Attributes:
        rows: `Writer`, `TrueAge`, `chosen`, `default`: a row for each page, ages in years.
        constant: the training writers' median age.
    """

    rows: pd.DataFrame
    constant: float


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


def difference(measured: Measured, seed: int = 0) -> tuple[float, float, float]:
    """How much larger the default's error is than the choice's, in years, with its 95 % interval over writers.

    Returns:
        The difference of the MAEs (positive: the choice is better), and the ends of its percentile interval under
        resampling of writers (a cluster bootstrap, Davison and Hinkley 1997, section 3.8).
    """
    rows = measured.rows
    gain = (rows["default"] - rows["TrueAge"]).abs() - (rows["chosen"] - rows["TrueAge"]).abs()
    return interval(gain, rows["Writer"], seed)


def interval(gain: pd.Series, writers: pd.Series, seed: int = 0) -> tuple[float, float, float]:
    """A mean and the ends of its 95 % interval under resampling of writers.

    Args:
        gain: a number for each page or character.
        writers: whose it is.
        seed: of the resampling.
    """
    by_writer = gain.groupby(writers.to_numpy()).agg(["sum", "size"]).to_numpy(np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(by_writer), (RESAMPLES, len(by_writer)))
    sums, counts = np.stack([each[drawn].sum(axis=1) for each in by_writer.T])
    low, high = np.percentile(sums / counts, [2.5, 97.5])
    return float(gain.mean()), float(low), float(high)
