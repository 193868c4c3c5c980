"""The spaces that are searched: functions from Keras Tuner's `hp` to a configuration.

    config = basic(hp, base)

What a space does not name stays as in `base`. Ratios of unfrozen layers are a few steps, not a continuum: every trial
with the same ratio then shares one frozen prefix, whose features are computed once for the whole search.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import keras_tuner

from age_keras.characters.config import RecogniserConfig, RecogniserTraining
from age_keras.config.age import AgeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from tuning.search_config import SearchConfig

Config = TypeVar("Config", bound=AgeConfig)
UNFREEZE = [0.25, 0.0, 0.1, 0.5]  # Keras Tuner takes the first as the default.
FINE_TUNE_RATE = 0.1
"""The learning rate of fine-tuning, as a fraction of the head's; the published protocol has 1e-4 and 1e-3."""


def basic(hp: keras_tuner.HyperParameters, base: Config) -> Config:
    """Dropout, learning rate and ratio of unfrozen layers, and the backbone where `base` names several."""
    dropout = hp.Float("dropout", 0.0, 0.7, step=0.1, default=0.5)
    rate = hp.Float("learning_rate", 1e-4, 1e-2, sampling="log", default=1e-3)
    ratio = hp.Choice("unfreeze", UNFREEZE, ordered=True)
    training = base.training
    fine_tune = replace(
        training.fine_tune,
        unfreeze=ratio,
        learning_rate=rate * FINE_TUNE_RATE,
        # With nothing unfrozen, fine-tuning would be more of the frozen phase.
        epochs=training.fine_tune.epochs if ratio else 0,
    )
    # Where `base` has no frozen phase, a head alone still needs epochs.
    frozen = replace(
        training.frozen,
        learning_rate=rate,
        epochs=training.frozen.epochs or (0 if ratio else training.fine_tune.epochs),
    )
    return replace(
        base,
        backbones=(_backbone(hp, base),),
        model=replace(base.model, dropout=dropout),
        training=replace(training, frozen=frozen, fine_tune=fine_tune),
    )


def wide(hp: keras_tuner.HyperParameters, base: Config) -> Config:
    """Those of `basic`, and head, loss, pooling, optimizer, weight decay, augmentation, its strength, and views."""
    config = basic(hp, base)
    head = hp.Choice("head", ["regression", "dldl", "corn", "mean_variance", "quantile"])
    loss = hp.Choice("loss", ["mae", "mse", "huber"], parent_name="head", parent_values=["regression"])
    pooling = hp.Choice("pooling", ["average", "max", "average_max"])
    optimizer = hp.Choice("optimizer", ["adam", "adamw", "sgd"])
    decay = hp.Float(
        "weight_decay", 1e-5, 1e-1, sampling="log", default=1e-2, parent_name="optimizer", parent_values=["adamw"]
    )
    augment = hp.Choice("augment", ["handwriting", "published", "none"])
    moving = {"parent_name": "augment", "parent_values": ["handwriting", "published"]}
    strength = hp.Float("strength", 0.5, 1.5, step=0.25, default=1.0, **moving)
    views = hp.Choice("views", [4, 1, 2, 8], ordered=True, **moving)
    training = config.training
    step = {"optimizer": optimizer, "weight_decay": decay if optimizer == "adamw" else 0.0}
    # What has no effect on a trial stands at its default, as a configuration demands.
    model = replace(config.model, head=head, pooling=pooling, loss=loss if head == "regression" else ModelConfig.loss)
    training = replace(
        training,
        augment=augment,
        strength=strength if augment != "none" else TrainingConfig.strength,
        frozen=replace(training.frozen, **step),
        fine_tune=replace(training.fine_tune, **step),
    )
    if augment != "none" and training.mix == "none":
        training = replace(training, views=views)
    return replace(config, model=model, training=training)


def recogniser(
    hp: keras_tuner.HyperParameters, model: RecogniserConfig, training: RecogniserTraining
) -> tuple[RecogniserConfig, RecogniserTraining]:
    """The recogniser's width, sequence, cell, attention and dropout; its training's rate, decay and smoothing."""
    width = hp.Choice("width", [1.0, 0.5, 0.75, 1.5], ordered=True)
    sequence = hp.Choice("sequence", ["columns", "rows"])
    recurrence = hp.Choice("recurrence", ["gru", "lstm", "none"]) if model.encoder == "rnn" else model.recurrence
    model = replace(
        model,
        detail=tuple(_wide(filters, width) for filters in model.detail),
        stem=_wide(model.stem, width) if model.stem else 0,
        stages=tuple(tuple(_wide(filters, width) for filters in stage) for stage in model.stages),
        sequence=sequence,
        recurrence=recurrence,
        units=hp.Choice("units", [64, 32, 96], ordered=True),
        attention=hp.Choice("attention", ["multihead", "dot", "none"]),
        dropout=hp.Float("dropout", 0.0, 0.5, step=0.1, default=0.2),
    )
    return model, replace(
        training,
        learning_rate=hp.Float("learning_rate", 5e-4, 1e-2, sampling="log", default=5e-3),
        weight_decay=hp.Float("weight_decay", 1e-3, 1e-1, sampling="log", default=2e-2),
        label_smoothing=hp.Float("label_smoothing", 0.0, 0.1, step=0.025, default=0.05),
    )


AGE_SPACES: dict[str, Callable[[keras_tuner.HyperParameters, SearchConfig], SearchConfig]] = {
    "basic": basic,
    "wide": wide,
}


def _backbone(hp: keras_tuner.HyperParameters, base: AgeConfig) -> str:
    if len(base.backbones) == 1:
        return base.backbones[0]
    return hp.Choice("backbone", list(base.backbones))


def _wide(filters: int, width: float) -> int:
    return max(8, 8 * round(filters * width / 8))
