"""Adversarial training: a recogniser learns from the worst pixels near each image."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Adversary:
    """Who disturbs the training images, within L∞ distance `epsilon` of pixels scaled to 0-1.

    Args:
        kind: "fgsm": one step from a random start (Wong, Rice & Kolter 2020); "pgd": several (Madry et al. 2018);
            "growing": several whose number grows from one to `steps` over the training (Cai et al. 2018), at little
            more than half the cost of PGD.
        epsilon: the farthest a pixel may go. Defaults to 0.3.
        steps: of PGD, at most. Defaults to 5.
        step_size: of one step, as a fraction of epsilon. Defaults to 2.5 / steps, at most 1.25.
        warm_up: fraction of the training in which epsilon grows from 0. Defaults to 0.2.
        clean: share of the loss that is on the untouched images. Defaults to 0.
    """

    kind: Literal["fgsm", "pgd", "growing"] = "growing"
    epsilon: float = 0.3
    steps: int = 5
    step_size: float | None = None
    warm_up: float = 0.2
    clean: float = 0.0

    def steps_at(self, progress: float | tf.Tensor) -> int | tf.Tensor:
        """How many steps it takes when `progress` (0-1) of the training is done."""
        if self.kind == "fgsm":
            return 1
        if self.kind == "pgd":
            return self.steps
        return tf.minimum(self.steps, 1 + tf.cast(progress * self.steps, tf.int32))


WATCHED = 50
"""Images of each validation batch that are attacked after each epoch."""


@keras.saving.register_keras_serializable("age_keras")
class AdversarialTrainer(keras.Model):
    """Wraps a recogniser so that `fit` trains it on adversarial images.

    In training, `accuracy` and `loss` are on attacked images. In validation, `accuracy` is on untouched ones, and
    `loss` and `robust_accuracy` are on the first 50 of each batch under PGD of 20 steps: training on one step can
    suddenly lose all resistance to many (Wong et al. 2020, "catastrophic overfitting"), which nothing else shows.

    Args:
        recogniser: from `build_recogniser`; its weights are what is trained.
        adversary: see `Adversary`.
        total_steps: of the whole training, for the growth of epsilon.
    """

    def __init__(self, recogniser: keras.Model, adversary: Adversary, total_steps: int, **kwargs):
        super().__init__(**kwargs)
        self.recogniser = recogniser
        self.adversary = adversary
        self.total_steps = total_steps
        self.examiner = dataclasses.replace(adversary, kind="pgd", steps=20, warm_up=0.0)
        self.to_logits = keras.Model(recogniser.input, recogniser.get_layer("logits").output)
        self.robust_accuracy = keras.metrics.CategoricalAccuracy(name="robust_accuracy")
        self.built = True

    def call(self, images, training=None):
        return self.recogniser(images, training=training)

    def train_step(self, data):
        images, labels = data
        images = tf.cast(images, tf.float32)
        done = tf.cast(self.optimizer.iterations, tf.float32) / self.total_steps
        bad = perturb(self.to_logits, images, labels, self.adversary, done)
        with tf.GradientTape() as tape:
            predicted = self.recogniser(bad, training=True)
            loss = self.compute_loss(y=labels, y_pred=predicted)
            if self.adversary.clean:
                untouched = self.compute_loss(y=labels, y_pred=self.recogniser(images, training=True))
                loss = (1 - self.adversary.clean) * loss + self.adversary.clean * untouched
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        return self._measure(loss, labels, predicted, skip=self.robust_accuracy)

    def test_step(self, data):
        images, labels = data
        attacked, truth = tf.cast(images[:WATCHED], tf.float32), labels[:WATCHED]
        bad = perturb(self.to_logits, attacked, truth, self.examiner)
        answer = self.recogniser(bad, training=False)
        self.robust_accuracy.update_state(truth, answer)
        loss = self.compute_loss(y=truth, y_pred=answer)
        return self._measure(loss, labels, self.recogniser(images, training=False))

    def _measure(self, loss, labels, predicted, skip=None):
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            elif metric is not self.robust_accuracy:
                metric.update_state(labels, predicted)
        return {m.name: m.result() for m in self.metrics if m is not skip}


def perturb(
    to_logits: Callable, images: tf.Tensor, labels: tf.Tensor, adversary: Adversary, progress: float | tf.Tensor = 1.0
) -> tf.Tensor:
    """Images moved to raise the loss, the model in inference mode.

    Args:
        to_logits: images `(N, S, S, C)` 0-255 to logits `(N, classes)`.
        images: float32, 0-255.
        labels: one-hot `(N, classes)`.
        adversary: its kind, steps and epsilon.
        progress: how much of the training is done, 0-1: epsilon and steps may grow with it. Defaults to 1.

    Returns:
        Images of the same shape, each pixel within 255 · epsilon of the original and within 0-255.
    """
    steps = adversary.steps_at(progress)
    grown = tf.minimum(progress / adversary.warm_up, 1.0) if adversary.warm_up else 1.0
    epsilon = 255.0 * adversary.epsilon * grown
    size = adversary.step_size or tf.minimum(1.25, 2.5 / tf.cast(steps, tf.float32))

    def step(count, moved):
        with tf.GradientTape() as tape:
            tape.watch(moved)
            logits = to_logits(moved, training=False)
            loss = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
        moved = moved + epsilon * size * tf.sign(tape.gradient(loss, moved))
        moved = tf.clip_by_value(moved, images - epsilon, images + epsilon)
        return count + 1, tf.clip_by_value(moved, 0.0, 255.0)

    start = images + tf.random.uniform(tf.shape(images), -1.0, 1.0) * epsilon
    start = tf.clip_by_value(start, 0.0, 255.0)
    _, moved = tf.while_loop(lambda count, _: count < steps, step, (0, start))
    return tf.stop_gradient(moved)
