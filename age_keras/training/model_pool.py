"""A model kept for the next training: the same network from its first weights, neither built nor traced again.

    pool = ModelPool()
    for part in parts:
        train(config, data, table, part, pool=pool)

Folds and trials train the same network again and again. Building, cutting and tracing it takes longer on a CPU than
many an epoch. What is kept is put back exactly: every weight, every random state, every slot of the optimizer, so that
the result is that of a model built anew, even after a training that broke off. Only the last network is kept.
"""

from dataclasses import replace

import keras

from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.models.age import backbone_layers, build_age_model, unfreeze
from age_keras.models.heads import HEADS, AgeError
from age_keras.prefix import CutModel, cut_model
from age_keras.run.state import assign, to_array
from age_keras.training.optimizers import build_optimizer, layer_rates


class ReusableModel:
    """An age model that any number of trainings, one after the other, use as if each had built it.

    Args:
        config: Model, protocol and machine of the first training.
        image_size: Side of the patches, in pixels.
        channels: Of the patches, 1 or 3.

    Attributes:
        age: The model; the next training changes it.
    """

    def __init__(self, config: AgeConfig, image_size: int, channels: int):
        self.age = build_age_model(config.backbone, config.model, image_size, channels, seed=config.seed)
        self._variables = list(self.age.trained.variables)
        self._first = [to_array(v) for v in self._variables]
        self._cuts: dict[float, CutModel] = {}
        self._compiled: dict[int, tuple[tuple, list]] = {}

    def begin(self, config: AgeConfig, median: float, deviation: float) -> None:
        """Puts everything back to the start of a training.

        Args:
            config: Of the training; the dropout's rate and the loss may be others than the model was built with.
            median: Of the training writers' ages, in years.
            deviation: Their mean absolute deviation from it, in years.
        """
        keras.utils.set_random_seed(config.seed)
        assign(self._variables, self._first)
        self.age.trained.get_layer("head_output").bias.assign(HEADS[config.model.head].bias(median, deviation))
        self.age.trained.get_layer("head_dropout").rate = config.model.dropout
        self.age = replace(self.age, config=config.model)

    def cut(self, ratio: float) -> CutModel:
        """The model cut where its frozen part ends when the top `ratio` of the backbone's layers trains."""
        if ratio not in self._cuts:
            unfreeze(self.age, ratio)
            self._cuts[ratio] = cut_model(self.age.trained)
        return self._cuts[ratio]

    def optimizer(self, phase: PhaseConfig, track: bool) -> keras.optimizers.Optimizer:
        """The optimizer of a phase with its layers' own learning rates; see `build_optimizer`."""
        rates = layer_rates(backbone_layers(self.age.trained), self.age.spec.cut_points, phase.layer_decay)
        return build_optimizer(phase, rates, track)

    def compile(self, model: keras.Model, config: AgeConfig, phase: PhaseConfig, steps_at_once: int) -> None:
        """Compiles a part of a cut, or only resets its optimizer where it is traced already, see `PhasePlan`."""
        key = (
            *(config.model.loss, config.model.dropout, config.runtime.xla, steps_at_once),
            *(phase.optimizer, phase.weight_decay, phase.layer_decay, phase.clip_norm),
        )
        known, slots = self._compiled.get(id(model), (None, []))
        if known == key:
            assign(model.optimizer.variables, slots)
            return
        model.compile(
            optimizer=self.optimizer(phase, track=config.runtime.strategy == "none"),
            loss=HEADS[config.model.head].loss(config.model.loss),
            metrics=[AgeError(config.model.head)],
            jit_compile=config.runtime.xla,
            steps_per_execution=steps_at_once,
        )
        model.optimizer.build(model.trainable_variables)
        self._compiled[id(model)] = key, [to_array(v) for v in model.optimizer.variables]


class ModelPool:
    """Builds models, and keeps the last one."""

    def __init__(self):
        self._kept: tuple[tuple, ReusableModel] | None = None

    def get(
        self, config: AgeConfig, image_size: int, channels: int, median: float = 0.0, deviation: float = 1.0
    ) -> ReusableModel:
        """The untrained model of a configuration; one that this pool gave before may not be used any more.

        Args:
            config: Model, protocol and machine.
            image_size: Side of the patches, in pixels.
            channels: Of the patches, 1 or 3.
            median: Of the training writers' ages, in years. Defaults to 0.
            deviation: Their mean absolute deviation from it, in years. Defaults to 1.
        """
        # What makes two networks the same: all but the dropout's rate and the loss.
        network = replace(config.model, dropout=0.5 if config.model.dropout else 0.0, loss="mae")
        key = config.backbone, network, image_size, channels, config.seed, config.runtime.precision
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # Two networks at a time may be more than fits into memory.
            model = ReusableModel(config, image_size, channels)
            if config.runtime.strategy == "none":  # The variables of another belong to the strategy of one training.
                self._kept = key, model
        else:
            model = self._kept[1]
        model.begin(config, median, deviation)
        return model
