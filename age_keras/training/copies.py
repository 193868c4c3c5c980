"""How many augmented copies of a patch a phase draws: what the frozen prefix can compute in time, and what has room."""

import math

import numpy as np

from age_keras.config.age import AgeConfig, PhaseConfig, TrainingConfig
from age_keras.prefix.cut import CutModel
from age_keras.training.phase_features import Cut, next_phase

MOST_VIEWS = 8
MOST_BYTES = 16 * 10**9
"""What `auto` lets the features of a phase take: below the cache's own limit, so that both phases' have room. It is the
same on every machine, as the number of copies decides what is learnt."""


def choose_views(training: TrainingConfig, phase: PhaseConfig, split: CutModel, patches: int) -> int | None:
    """How many augmented copies of each patch a phase uses; None for a new one each epoch.

    `auto` takes as many as keep the passes through the prefix below the larger of the time of the suffix's epochs and
    a fifth of plain training's, at most eight, and no more than fit `MOST_BYTES`; where not even one does, a new one
    each epoch. In units of one forward pass of the whole, an epoch costs 3 s in the suffix (share s) and 1 + 2 s
    plainly, and a copy 1 - s.

    Args:
        training, phase: the protocol.
        split: the model, cut for this phase.
        patches: of all pages: a cross-validation learns from each of them.
    """
    if training.mix != "none" or training.views == "inf":
        return None
    if training.views != "auto":
        return int(training.views)
    if split.prefix is None:
        return None
    if training.augment == "none":
        return 1
    s, epochs = split.suffix_fraction, phase.epochs
    budget = max(3 * s * epochs, epochs * (1 + 2 * s) / 5 - 3 * s * epochs)
    in_time = int(np.clip(budget / (1 - s), 1, MOST_VIEWS))
    # In float32, whatever is chosen for this machine; once more for the patches as they are.
    row_bytes = 4 * sum(math.prod(tensor.shape) for tensor in split.boundary)
    fitting = MOST_BYTES // max(1, patches * row_bytes) - 1
    return min(in_time, fitting) if fitting >= 1 else None


def cut_ahead(config: AgeConfig, phase: PhaseConfig, split: CutModel | None, patches: int) -> Cut | None:
    """The next phase's cut, with the copies that it will draw; None where it caches nothing."""
    following = next_phase(config, phase)
    if following is None or split is None or split.prefix is None:
        return None
    views = choose_views(config.training, following, split, patches)
    return None if views is None else Cut(split, views)
