"""A model kept for the next training: the same network from its first weights, neither built nor traced again.

    pool = ModelPool()
    for part in parts:
        train(config, data, table, part, pool=pool)

Folds and trials train the same network again and again. Building, cutting and tracing it takes longer on a CPU than
many an epoch. What is kept is put back exactly: every weight, every random state, every slot of the optimizer, so that
the result is that of a model built anew. Only the last network is kept, and only after a training that ended in order.
"""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import keras
import numpy as np

from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.models.age import AgeModel, backbone_layers, build_age_model, unfreeze
from age_keras.models.heads import HEADS, AgeError
from age_keras.prefix.cut import CutModel, cut_model
from age_keras.run.state import assign, to_array
from age_keras.training.optimizers import build_optimizer, layer_rates
from age_keras.training.phase_features import next_phase


class _StillSplit(CutModel):
    """A cut whose frozen part has the same weights in every training: they are hashed once."""

    @cached_property
    def _hash(self) -> str:
        return super().fingerprint()

    def fingerprint(self) -> str:
        return self._hash


@dataclass(eq=False)
class _Kept:
    key: tuple
    age: AgeModel
    variables: list
    first: list[np.ndarray]
    splits: dict[float, _StillSplit] = field(default_factory=dict)
    widest: float = 0.0
    compiled: dict[int, tuple[tuple, list[np.ndarray]]] = field(default_factory=dict)


class ModelPool:
    """Builds and compiles models, and keeps the last one.

    Args:
        keep: whether to; a pool for a single training has no use for it. Defaults to True.
    """

    def __init__(self, keep: bool = True):
        self.keep = keep
        self._kept: _Kept | None = None
        self._lent: _Kept | None = None

    def build(self, config: AgeConfig, image_size: int, channels: int, median: float, deviation: float) -> AgeModel:
        """The untrained model of a configuration, see `build_age_model`.

        A model that this pool gave before is not to be used any more.
        """
        kept, self._kept, self._lent = self._kept, None, None
        key = _network(config, image_size, channels)
        if kept is None or kept.key != key:
            del kept
            age = build_age_model(config.backbone, config.model, image_size, channels, median, deviation, config.seed)
            if self.keep and config.runtime.strategy == "none":
                variables = list(age.trained.variables)
                self._lent = _Kept(key, age, variables, [to_array(v) for v in variables])
            return age
        keras.utils.set_random_seed(config.seed)
        assign(kept.variables, kept.first)
        head = kept.age.trained.get_layer("head_output")
        head.bias.assign(HEADS[config.model.head].bias(median, deviation))
        kept.age.trained.get_layer("head_dropout").rate = config.model.dropout
        kept.age, kept.widest = replace(kept.age, config=config.model), 0.0
        self._lent = kept
        return kept.age

    def ahead(self, age: AgeModel, config: AgeConfig, phase: PhaseConfig) -> CutModel | None:
        """The model cut as the next phase will; None where there is none that leaves a part frozen.

        To be called before `unfreeze` for this phase, and before anything is trained.
        """
        following = next_phase(config, phase)
        if following is None:
            return None
        widest = self._lent.widest if self._lent else 0.0
        unfreeze(age, following.unfreeze)
        split = self.split(age, following)
        if self._lent:
            self._lent.widest = widest  # Nothing has been trained yet.
        return split

    def split(self, age: AgeModel, phase: PhaseConfig) -> CutModel:
        """The model cut for a phase, after `unfreeze`."""
        kept = self._lent
        # After a phase that unfroze more, what is frozen now has been trained.
        if kept is None or phase.unfreeze < kept.widest:
            return cut_model(age.trained)
        kept.widest = phase.unfreeze
        if phase.unfreeze not in kept.splits:
            split = cut_model(age.trained)
            kept.splits[phase.unfreeze] = _StillSplit(*(getattr(split, each.name) for each in fields(split)))
        return kept.splits[phase.unfreeze]

    def compile(
        self, model: keras.Model, age: AgeModel, config: AgeConfig, phase: PhaseConfig, steps_at_once: int = 1
    ) -> None:
        """Compiles what a phase fits, with an optimizer that has not made a step.

        Args:
            model: what is fitted.
            age: the whole.
            config: its loss, and the machine's side.
            phase: the optimizer's settings.
            steps_at_once: steps that Keras runs in one call.
        """
        key = (*_step(config, phase), steps_at_once)
        if self._lent is not None:
            known, slots = self._lent.compiled.get(id(model), (None, []))
            if known == key:
                assign(model.optimizer.variables, slots)
                return
        rates = layer_rates(backbone_layers(age.trained), age.spec.cut_points, phase.layer_decay)
        model.compile(
            optimizer=build_optimizer(phase, rates, track=config.runtime.strategy == "none"),
            loss=HEADS[config.model.head].loss(config.model.loss),
            metrics=[AgeError(config.model.head)],
            jit_compile=config.runtime.xla,
            steps_per_execution=steps_at_once,
        )
        model.optimizer.build(model.trainable_variables)
        if self._lent is not None:
            self._lent.compiled[id(model)] = (key, [to_array(v) for v in model.optimizer.variables])

    def give_back(self) -> None:
        """A training has ended in order. One that did not may have left something behind in its model."""
        self._kept, self._lent = self._lent, None


def _network(config: AgeConfig, image_size: int, channels: int) -> tuple:
    """What makes two networks the same one: all but the dropout's rate and the loss."""
    model = replace(config.model, dropout=0.5 if config.model.dropout else 0.0, loss="mae")
    return config.backbone, model, image_size, channels, config.seed, config.runtime.precision


def _step(config: AgeConfig, phase: PhaseConfig) -> tuple:
    """What a traced training step depends on."""
    optimizer = phase.optimizer, phase.weight_decay, phase.layer_decay, phase.clip_norm
    return config.model.loss, config.model.dropout, config.runtime.xla, *optimizer
