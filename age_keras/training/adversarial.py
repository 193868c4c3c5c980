"""Adversarial training: a recogniser learns from the worst pixels near each image."""

import dataclasses
from typing import Literal

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Adversary:
    """Who disturbs the training images, within L∞ distance `epsilon` of pixels scaled to 0-1.

    Args:
        kind: "fgsm": one step from a random start, which trains as robustly as PGD at a fraction of its cost (Wong,
            Rice & Kolter 2020); "pgd": several steps (Madry et al. 2018).
        epsilon: the farthest a pixel may go. Defaults to 0.3.
        steps: of PGD. Defaults to 7.
        step_size: of one step, as a fraction of epsilon. Defaults to 1.25 (FGSM); PGD wants about 0.33.
        warm_up: fraction of the training in which epsilon grows from 0. Defaults to 0.2.
        clean: share of the loss that is on the untouched images. Defaults to 0.
    """

    kind: Literal["fgsm", "pgd"] = "fgsm"
    epsilon: float = 0.3
    steps: int = 7
    step_size: float = 1.25
    warm_up: float = 0.2
    clean: float = 0.0


@keras.saving.register_keras_serializable("age_keras")
class AdversarialTrainer(keras.Model):
    """Wraps a recogniser so that `fit` trains it on adversarial images; validation is on clean ones.

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
        self.to_logits = keras.Model(recogniser.input, recogniser.get_layer("logits").output)
        self.built = True

    def call(self, images, training=None):
        return self.recogniser(images, training=training)

    def train_step(self, data):
        images, labels = data
        images = tf.cast(images, tf.float32)
        grown = tf.cast(self.optimizer.iterations, tf.float32) / max(1.0, self.adversary.warm_up * self.total_steps)
        bad = perturb(self.to_logits, images, labels, self.adversary, tf.minimum(grown, 1.0))
        with tf.GradientTape() as tape:
            predicted = self.recogniser(bad, training=True)
            loss = self.compute_loss(y=labels, y_pred=predicted)
            if self.adversary.clean:
                untouched = self.compute_loss(y=labels, y_pred=self.recogniser(images, training=True))
                loss = (1 - self.adversary.clean) * loss + self.adversary.clean * untouched
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(labels, predicted)
        return {m.name: m.result() for m in self.metrics}


def perturb(to_logits, images: tf.Tensor, labels: tf.Tensor, adversary: Adversary, scale=1.0) -> tf.Tensor:
    """Images moved to raise the loss, the model in inference mode.

    Args:
        to_logits: images `(N, S, S, C)` 0-255 to logits `(N, classes)`.
        images: float32, 0-255.
        labels: one-hot `(N, classes)`.
        adversary: its kind, steps and epsilon.
        scale: multiplies epsilon. Defaults to 1.

    Returns:
        Images of the same shape, each pixel within 255 · epsilon of the original and within 0-255.
    """
    epsilon = 255.0 * adversary.epsilon * scale
    step = epsilon * adversary.step_size
    moved = images + tf.random.uniform(tf.shape(images), -1.0, 1.0) * epsilon
    for _ in range(1 if adversary.kind == "fgsm" else adversary.steps):
        moved = tf.clip_by_value(moved, 0.0, 255.0)
        with tf.GradientTape() as tape:
            tape.watch(moved)
            logits = to_logits(moved, training=False)
            loss = tf.nn.softmax_cross_entropy_with_logits(labels, logits)
        moved = moved + step * tf.sign(tape.gradient(loss, moved))
        moved = tf.clip_by_value(moved, images - epsilon, images + epsilon)
    return tf.stop_gradient(tf.clip_by_value(moved, 0.0, 255.0))
