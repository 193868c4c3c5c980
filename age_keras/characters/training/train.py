"""How a recogniser is trained: augmented batches, a schedule, averaged weights, and going on where it stopped."""

import dataclasses
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from age_keras.characters.data.characters import Characters
from age_keras.characters.data.warp import WarpSettings, warp_batch
from age_keras.characters.training.averaging import AveragedAdamW, AveragedSGD
from age_keras.characters.training.keeper import Keeper, ProgressBar
from age_keras.characters.training.schedules import Schedule, learning_rate
from age_keras.config.choices import refuse_unknown_names
from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class RecogniserTraining:
    """How a recogniser is trained.

    Args:
        epochs: passes over the training part.
        batch_size: images a step.
        optimizer: AdamW, or SGD (plain where momentum is 0).
        learning_rate: the highest of the schedule.
        momentum: of SGD.
        weight_decay: of AdamW.
        schedule: "one-cycle", "cosine" or "constant".
        label_smoothing: share of the target spread over all classes.
        ema: decay of the running average of the weights, which is what is validated and kept; less in a training of
            few steps (at most 1 - 12 / steps); 0 turns it off.
        augment: warp the digits (see `warp`).
        warp: how far.
        keep: the weights kept: of the "last" epoch, or of the "best" by loss on the validation part.
        patience: stop after so many epochs without a better validation loss; 0 never stops early.

    Raises:
        InputError: a name is unknown, or a number is out of its range.
    """

    epochs: int = 40
    batch_size: int = 128
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 5e-3
    momentum: float = 0.0
    weight_decay: float = 0.02
    schedule: Schedule = "one-cycle"
    label_smoothing: float = 0.05
    ema: float = 0.999
    augment: bool = True
    warp: WarpSettings = dataclasses.field(default_factory=lambda: WarpSettings(width=0.6))
    keep: Literal["last", "best"] = "last"
    patience: int = 0

    def __post_init__(self):
        refuse_unknown_names(self)
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 0)):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"`{name}` must be at least {least}. Received: {name}={value}.")
        if self.learning_rate <= 0:
            raise InputError(f"`learning_rate` must be positive. Received: learning_rate={self.learning_rate}.")
        for name in ("momentum", "label_smoothing", "ema"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise InputError(f"`{name}` must lie in [0, 1). Received: {name}={value}.")


def train_recogniser(
    model: keras.Model,
    train: Characters,
    validation: Characters,
    training: RecogniserTraining,
    *,
    seed: int = 0,
    state: Path | None = None,
    tensorboard: Path | None = None,
    name: str = "recogniser",
    callbacks: tuple[keras.callbacks.Callback, ...] = (),
) -> list[dict[str, float]]:
    """Trains a model in place.

    Args:
        model: from `build_recogniser` with the same seed set, or what wraps it for adversarial training.
        train: what it learns from.
        validation: what is measured after each epoch, with the averaged weights.
        training: see `RecogniserTraining`.
        seed: of order and augmentation; epoch e is a function of (seed, e) only.
        state: the file that a stopped training goes on from; written after each epoch. Defaults to none.
        tensorboard: TensorBoard's folder. Defaults to none.
        name: shown beside the progress bar.
        callbacks: further callbacks.

    Returns:
        A row per epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds (wall).

    Raises:
        InputError: the loss became NaN, or there are fewer images than a batch.
    """
    steps = len(train) // training.batch_size
    if not steps:
        raise InputError(f"{len(train)} images do not fill a batch of {training.batch_size}; give a smaller batch.")
    classes = len(train.classes)
    model.compile(
        optimizer=_optimizer(training, steps * training.epochs),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing),
        metrics=["accuracy"],
    )
    keeper = Keeper(state, keep=training.keep, patience=training.patience, epochs=training.epochs)
    first = keeper.restore(model)
    if first < training.epochs and not keeper.stopped:
        watch = [keeper]  # Before the swap: at the end of a validation it sees the averaged weights.
        if training.ema:
            watch.append(keras.callbacks.SwapEMAWeights())
        watch += [keras.callbacks.TerminateOnNaN(), ProgressBar(name, steps * (training.epochs - first))]
        if tensorboard is not None:
            watch.append(keras.callbacks.TensorBoard(str(tensorboard), write_graph=False, profile_batch=0))
        model.fit(
            augmented_batches(train, training, seed, first),
            epochs=training.epochs,
            initial_epoch=first,
            steps_per_epoch=steps,
            shuffle=False,  # The batches are shuffled already.
            validation_data=_plain_batches(validation, classes),
            callbacks=[*watch, *callbacks],
            verbose=0,
        )
    if not keeper.history or not np.isfinite(keeper.history[-1]["loss"]):
        raise InputError("the loss became NaN; give a lower --training.learning-rate.")
    keeper.finish(model)
    return keeper.history


def augmented_batches(
    train: Characters, training: RecogniserTraining, seed: int, first_epoch: int = 0
) -> tf.data.Dataset:
    """Endless batches `(uint8 (B, S, S, 1), float32 (B, classes))`, whole ones only."""
    size, steps = training.batch_size, len(train) // training.batch_size
    eye = np.eye(len(train.classes), dtype=np.float32)

    def batches():
        epoch = first_epoch
        while True:
            rng = np.random.default_rng((seed, epoch))
            order = rng.permutation(len(train))
            for step in range(steps):
                rows = order[step * size : (step + 1) * size]
                images = train.images[rows]
                if training.augment:
                    images = warp_batch(images, rng, training.warp)
                yield images[..., None], eye[train.labels[rows]]
            epoch += 1

    side = train.images.shape[1]
    signature = (tf.TensorSpec((size, side, side, 1), tf.uint8), tf.TensorSpec((size, len(eye)), tf.float32))
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(8)


def predict_probabilities(model: keras.Model, images: np.ndarray, batch_size: int = 500) -> np.ndarray:
    """`(N, classes)` float32 of images `uint8 (N, S, S)`."""
    if not len(images):
        return np.zeros((0, model.output_shape[-1]), np.float32)
    return model.predict(images[..., None], batch_size=batch_size, verbose=0)


def _plain_batches(characters: Characters, classes: int) -> tf.data.Dataset:
    labels = np.eye(classes, dtype=np.float32)[characters.labels]
    return tf.data.Dataset.from_tensor_slices((characters.images[..., None], labels)).batch(500)


def _optimizer(training: RecogniserTraining, total_steps: int) -> keras.optimizers.Optimizer:
    rate = learning_rate(training.schedule, training.learning_rate, total_steps)
    # An average must not span more than a twelfth of the training, or the first weights stay in it.
    decay = min(training.ema, max(0.0, 1 - 12 / total_steps))
    average = {"use_ema": True, "ema_momentum": decay} if training.ema else {}
    if training.optimizer == "sgd":
        return AveragedSGD(rate, momentum=training.momentum, **average)
    optimizer = AveragedAdamW(rate, weight_decay=training.weight_decay, **average)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "embedding"])
    return optimizer
