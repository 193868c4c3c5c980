"""The phases of a training: the head on the frozen backbone, then the top of the backbone; all that is decided before.

    plan = PhasePlan(model, config, patches=len(store.patches))
    for phase in plan.phases:
        variables = plan.begin(phase)
        feed = make_feed(plan, phase, ...)
        plan.compile(feed.model, phase)
        feed.model.fit(...)

The model is cut for both phases before anything is trained: what stays frozen in the second is the lower part of what
is frozen in the first, so that one pass over the pixels makes the features of both.
"""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from age_keras.config.age import AgeConfig, PhaseConfig, TrainingConfig
from age_keras.fitting.schedules import rate_factor
from age_keras.models.age import AgeModel, backbone_layers, unfreeze
from age_keras.prefix import CutModel
from age_keras.training.model_pool import ReusableModel

PHASES = ("frozen", "fine_tune")
MOST_VIEWS = 8
MOST_BYTES = 16 * 10**9
"""What `auto` lets the features of a phase take: below the cache's own limit, so that there is room for both phases'.
It is the same on every machine, as the number of views decides what is learnt."""


@dataclass(frozen=True, eq=False)
class Phase:
    """One phase of a training.

    Attributes:
        number: Its place in `PHASES`.
        settings: Its configuration.
        first_epoch: The number of its first epoch, counted over all phases.
        cut: The model, cut where this phase's frozen part ends.
        views: Augmented copies of each patch, another one each epoch; `None` for a new one each epoch.
    """

    number: int
    settings: PhaseConfig
    first_epoch: int
    cut: CutModel
    views: int | None

    @property
    def name(self) -> str:
        return PHASES[self.number]


class PhasePlan:
    """A model and the phases of its training that have epochs.

    Args:
        model: The untrained model.
        config: The protocol, and the machine's side.
        patches: The number of patches of all pages: a cross-validation trains on each of them.

    Attributes:
        age: The age model.
        phases: In order.
    """

    def __init__(self, model: ReusableModel, config: AgeConfig, patches: int):
        self.model, self.age, self.config = model, model.age, config
        self.phases: list[Phase] = []
        epochs = 0
        for number, name in enumerate(PHASES):
            settings = getattr(config.training, name)
            if settings.epochs:
                cut = model.cut(settings.unfreeze)
                views = choose_views(config.training, settings, cut, patches)
                self.phases.append(Phase(number, settings, epochs, cut, views))
            epochs += settings.epochs

    def begin(self, phase: Phase) -> list:
        """Freezes and unfreezes the model's layers for a phase.

        Returns:
            All variables that this phase and those before it may change, random states too.
        """
        widest = max(each.settings.unfreeze for each in self.phases if each.number <= phase.number)
        moving = unfreeze(self.age, widest)
        unfreeze(self.age, phase.settings.unfreeze)
        return moving_variables(self.age, moving)

    def caches(self, phase: Phase) -> bool:
        """Whether a phase can train on features of the frozen part that are computed once."""
        runtime = self.config.runtime
        possible = phase.views is not None and phase.cut.prefix is not None
        return possible and runtime.prefix_cache and runtime.strategy == "none"

    def ahead(self, phase: Phase) -> Phase | None:
        """The phase after this one, whose features lead to this one's; `None` where it has none."""
        following = [each for each in self.phases if each.number > phase.number]
        return following[0] if following and self.caches(following[0]) else None

    def views_notes(self, phase: Phase) -> list[str]:
        """What the report says of a phase's views: a sentence where patches are augmented."""
        if self.config.training.augment == "none":
            return []
        ratio = phase.settings.unfreeze
        what = f"unfreezing {ratio:.0%} of the layers" if ratio else "training the head"
        anew = "a new augmented copy of every patch each epoch"
        return [f"While {what}: {anew if phase.views is None else f'{phase.views} augmented copies a patch'}."]

    def compile(self, model: keras.Model, phase: Phase, steps_at_once: int = 1) -> None:
        """Compiles what a phase fits, with an optimizer that has not made a step.

        Args:
            model: What is fitted: the whole or the suffix of the phase's cut.
            phase: The phase.
            steps_at_once: Steps that Keras runs in one call. Defaults to 1.
        """
        self.model.compile(model, self.config, phase.settings, steps_at_once)


def moving_variables(age: AgeModel, unfrozen: int) -> list:
    """The variables of the uppermost backbone layers and of the head."""
    backbone = backbone_layers(age.trained)
    frozen = {id(layer) for layer in backbone[: len(backbone) - unfrozen]}
    layers = [layer for layer in age.trained.layers if id(layer) not in frozen]
    return [variable for layer in layers for variable in layer.variables]


def choose_views(training: TrainingConfig, phase: PhaseConfig, cut: CutModel, patches: int) -> int | None:
    """How many augmented copies of each patch a phase uses; None for a new one each epoch.

    `auto` takes as many as keep the passes through the prefix below the larger of the time of the suffix's epochs and
    a fifth of plain training's, at most eight, and no more than fit `MOST_BYTES`; where not even one does, a new one
    each epoch. In units of one forward pass of the whole, an epoch costs 3 s in the suffix (fraction s) and 1 + 2 s
    plainly, and a copy 1 - s.

    Args:
        training: The protocol.
        phase: The phase's settings.
        cut: The model, cut for this phase.
        patches: The number of patches of all pages.
    """
    if training.mix != "none" or training.views == "inf":
        return None
    if training.views != "auto":
        return int(training.views)
    if cut.prefix is None:
        return None
    if training.augment == "none":
        return 1
    s, epochs = cut.suffix_fraction, phase.epochs
    budget = max(3 * s * epochs, epochs * (1 + 2 * s) / 5 - 3 * s * epochs)
    in_time = int(np.clip(budget / (1 - s), 1, MOST_VIEWS))
    # In float32, whatever is chosen for this machine; once more for the patches as they are.
    row_bytes = 4 * sum(math.prod(tensor.shape) for tensor in cut.boundary)
    fitting = MOST_BYTES // max(1, patches * row_bytes) - 1
    return min(in_time, fitting) if fitting >= 1 else None


def patience(phase: PhaseConfig) -> dict[str, Any]:
    """A phase's settings as `BestEpoch` takes them."""
    return {
        "stop_patience": phase.stop_patience,
        "plateau_patience": phase.plateau_patience if phase.schedule == "plateau" else None,
        "plateau_factor": phase.plateau_factor,
    }


def learning_rate(phase: PhaseConfig, epoch: int, factor: float = 1.0) -> float:
    """The learning rate of an epoch: that of the schedule at the epoch's start.

    Args:
        phase: The phase's settings.
        epoch: The epoch, counted from 0 in the phase.
        factor: `BestEpoch.rate_factor`. Defaults to 1.
    """
    scheduled = rate_factor(phase.schedule, epoch / phase.epochs, phase.warmup / phase.epochs)
    return float(phase.learning_rate * factor * scheduled)
