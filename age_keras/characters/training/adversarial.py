"""Adversarial training: a recogniser learns from the worst pixels near each image."""

import dataclasses
from collections.abc import Callable

import keras
import tensorflow as tf

from age_keras.characters.calibration import fit_confidence
from age_keras.characters.config import Adversary, Confidence, RecogniserConfig, RecogniserTraining
from age_keras.characters.data.characters import Characters
from age_keras.characters.model.recogniser import logits_model, predict_probabilities
from age_keras.characters.model.saving import save_recogniser
from age_keras.characters.training.train import train_recogniser
from age_keras.characters.training.train_seed import fresh_recogniser
from age_keras.run.folder import Run

WATCHED = 50
"""Images of each validation batch that are attacked after each epoch."""


@keras.saving.register_keras_serializable("age_keras")
class AdversarialTrainer(keras.Model):
    """Wraps a recogniser so that `fit` trains it on adversarial images.

    In training, `accuracy` and `loss` are on attacked images. In validation, `accuracy` is on untouched ones, and
    `loss` and `robust_accuracy` are on the first 50 of each batch under PGD of 20 steps: training on one step can
    suddenly lose all resistance to many (Wong et al. 2020, "catastrophic overfitting"), which nothing else shows.

    Args:
        recogniser: From `build_recogniser`; its weights are trained.
        adversary: See `Adversary`.
        total_steps: Steps of the whole training, for the growth of epsilon.
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
        to_logits: A function of images `(N, S, S, C)`, 0-255, that gives logits `(N, classes)`.
        images: float32, 0-255.
        labels: one-hot `(N, classes)`.
        adversary: Kind, steps and epsilon of the attack.
        progress: Fraction of the training that is done, with which epsilon and steps may grow. Defaults to 1.

    Returns:
        Images of the same shape, each pixel within 255 · epsilon of the original and within 0-255.
    """
    steps = attack_steps(adversary, progress)
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


def attack_steps(adversary: Adversary, progress: float | tf.Tensor) -> int | tf.Tensor:
    """How many steps the adversary takes when `progress` (0-1) of the training is done."""
    if adversary.kind == "fgsm":
        return 1
    if adversary.kind == "pgd":
        return adversary.steps
    return tf.minimum(adversary.steps, 1 + tf.cast(progress * adversary.steps, tf.int32))


def train_robust(
    run: Run,
    shape: RecogniserConfig,
    training: RecogniserTraining,
    adversary: Adversary,
    confidence: Confidence,
    parts: dict[str, Characters],
    seed: int,
) -> tuple[keras.Model, list[dict[str, float]]]:
    """Trains, calibrates and saves one robust recogniser, or resumes it.

    Args:
        run: The run's folder; the model is `checkpoints/robust.keras`.
        shape: The recogniser's shape.
        training: How it is trained.
        adversary: What disturbs its images.
        confidence: What it promises on clean images.
        parts: "train", "validation" and "test".
        seed: Seed of weights, order and random starts.

    Returns:
        The model, and one row per epoch.
    """
    train = parts["train"]
    model = fresh_recogniser(shape, train, seed)
    steps = training.epochs * (len(train) // training.batch_size)
    history = train_recogniser(
        AdversarialTrainer(model, adversary, steps),
        train,
        parts["validation"],
        training,
        seed=seed,
        state=run.file("state", "robust.npz"),
        tensorboard=run.file("tensorboard", "robust"),
        name="robust",
    )
    held = predict_probabilities(logits_model(model), parts["validation"].images)
    model.get_layer("probabilities").calibrate(**fit_confidence(parts["validation"].labels, held, confidence))
    save_recogniser(run.file("checkpoints", "robust.keras"), model, train.name)
    return model, history
