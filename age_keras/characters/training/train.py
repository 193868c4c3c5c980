"""How a recogniser is trained: augmented batches, a schedule, averaged weights, and resuming where it stopped."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from age_keras.characters.config import RecogniserTraining
from age_keras.characters.data.characters import Characters
from age_keras.characters.data.warp import warp_batch
from age_keras.characters.training.callbacks import Checkpointer, ProgressBar
from age_keras.errors import InputError
from age_keras.fitting.schedules import rate_factor


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
        model: From `build_recogniser` with the same seed set, or an `AdversarialTrainer` around it.
        train: The characters it learns from.
        validation: The characters that are evaluated after each epoch, with the averaged weights.
        training: See `RecogniserTraining`.
        seed: Seed of order and augmentation; epoch e is a function of (seed, e) only. Defaults to 0.
        state: File from which a stopped training is resumed, written after each epoch. Defaults to none.
        tensorboard: TensorBoard's folder. Defaults to none.
        name: Label of the progress bar. Defaults to "recogniser".
        callbacks: Further callbacks. Defaults to none.

    Returns:
        One row per epoch: epoch, loss, accuracy, val_loss, val_accuracy, learning_rate, seconds (wall).

    Raises:
        InputError: The loss became NaN, or there are fewer images than a batch.
    """
    steps = len(train) // training.batch_size
    if not steps:
        raise InputError(
            f"{len(train)} images do not fill a batch of {training.batch_size}; give a smaller batch size."
        )
    classes = len(train.classes)
    model.compile(
        optimizer=_optimizer(training, steps * training.epochs),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=training.label_smoothing),
        metrics=["accuracy"],
    )
    keeper = Checkpointer(state, keep=training.keep, patience=training.patience)
    first = keeper.restore(model)
    if first < training.epochs and not keeper.best.stopped:
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
        raise InputError("The loss became NaN; give a lower --training.learning-rate.")
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


def _plain_batches(characters: Characters, classes: int) -> tf.data.Dataset:
    labels = np.eye(classes, dtype=np.float32)[characters.labels]
    return tf.data.Dataset.from_tensor_slices((characters.images[..., None], labels)).batch(500)


def _optimizer(training: RecogniserTraining, total_steps: int) -> keras.optimizers.Optimizer:
    rate = learning_rate(training.schedule, training.learning_rate, total_steps)
    # An average must not span more than a twelfth of the training, or the first weights stay in it.
    decay = min(training.ema, max(0.0, 1 - 12 / total_steps))
    options = {"use_ema": True, "ema_momentum": decay} if training.ema else {}
    options["weight_decay"] = training.weight_decay
    if training.optimizer == "sgd":
        optimizer = AveragedSGD(rate, momentum=training.momentum, **options)
    else:
        optimizer = AveragedAdamW(rate, **options)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "embedding"])
    return optimizer


@keras.saving.register_keras_serializable("age_keras")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise from a twentieth of the peak, then half a cosine down to a thousandth of it.

    With a rise over a sixth of the steps it is the one-cycle policy (Smith & Topin 2018) with a cosine end.

    Args:
        peak: The highest learning rate.
        total_steps: Optimizer steps of the whole training.
        rise: Fraction of the steps in which the rate rises.
    """

    def __init__(self, peak, total_steps, rise):
        self.peak, self.total_steps, self.rise = peak, total_steps, rise

    def __call__(self, step):
        done = ops.minimum(ops.cast(step, "float32") / max(self.total_steps, 1), 1.0)
        return self.peak * rate_factor("cosine", done, self.rise, start=0.05, end=1e-3, xp=ops)

    def get_config(self):
        return {"peak": self.peak, "total_steps": self.total_steps, "rise": self.rise}


def learning_rate(schedule: str, peak: float, total_steps: int) -> float | WarmupCosine:
    """The learning rate of a training of `total_steps` steps, as Keras' optimizers take it."""
    if schedule == "constant":
        return peak
    return WarmupCosine(peak, total_steps, rise=0.15 if schedule == "one-cycle" else 0.02)


class _WarmAverage(keras.optimizers.Optimizer):
    """`ema_momentum` is a ceiling: at step t the decay is min(ceiling, (1 + t) / (10 + t)).

    With a constant decay the first weights, which are noise, stay in the average for thousands of steps. The rule is
    that of TensorFlow's `tf.train.ExponentialMovingAverage(num_updates=t)`.
    """

    @property
    def ema_momentum(self):
        step = ops.cast(self.iterations, "float32")
        return ops.minimum(self._ceiling, (1.0 + step) / (10.0 + step))

    @ema_momentum.setter
    def ema_momentum(self, ceiling):
        self._ceiling = ceiling

    def get_config(self):
        return {**super().get_config(), "ema_momentum": self._ceiling}


@keras.saving.register_keras_serializable("age_keras")
class AveragedAdamW(_WarmAverage, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with an average whose decay grows to `ema_momentum`."""


@keras.saving.register_keras_serializable("age_keras")
class AveragedSGD(_WarmAverage, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with an average whose decay grows to `ema_momentum`."""
