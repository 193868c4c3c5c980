"""Training a recogniser: it learns, resumes to the same weights, keeps what it says, and resists an adversary."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from age_keras.characters.config import Adversary, RecogniserConfig, RecogniserTraining
from age_keras.characters.data.characters import Characters
from age_keras.characters.model.recogniser import build_recogniser, logits_model, predict_probabilities
from age_keras.characters.training.adversarial import AdversarialTrainer, attack_steps, perturb
from age_keras.characters.training.train import WarmupCosine, augmented_batches, learning_rate, train_recogniser
from age_keras.errors import InputError

TINY = RecogniserConfig(
    detail=(), stem=4, stages=((6,), (8,)), units=8, recurrence="none", attention="none", dropout=0.1
)
FAST = RecogniserTraining(epochs=3, batch_size=64, learning_rate=0.01)


def _bars(count, seed=0):
    """Two classes a tiny net learns at once: an upright and a lying bar."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    images = np.zeros((count, 28, 28), np.uint8)
    for image, label, at in zip(images, labels, rng.integers(8, 20, count), strict=True):
        image[(slice(at, at + 3), slice(5, 23)) if label else (slice(5, 23), slice(at, at + 3))] = 255
    return Characters(images, labels, ("upright", "lying"), np.full(count, "train"), name="bars")


def _model(seed=0, config=TINY):
    keras.utils.set_random_seed(seed)
    return build_recogniser(config, classes=2)


class StopAfter(keras.callbacks.Callback):
    """As if the process were killed in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.at == self.epoch and batch == 1:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self.at = epoch


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that tells the bars apart, its record, and TensorBoard's folder."""
    model, folder = _model(), tmp_path_factory.mktemp("tensorboard")
    training = dataclasses.replace(FAST, epochs=10)
    return model, train_recogniser(model, _bars(256), _bars(64, 1), training, tensorboard=folder), folder


def test_it_learns_and_tells_its_epochs(trained):
    model, history, folder = trained
    test = _bars(100, 2)
    assert (predict_probabilities(model, test.images).argmax(axis=1) == test.labels).mean() > 0.95
    assert [row["epoch"] for row in history] == list(range(1, 11))
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"} <= set(history[0])
    assert list(folder.glob("*/events*"))
    assert predict_probabilities(model, test.images[:0]).shape == (0, 2)


def test_the_weights_left_are_those_that_were_validated(trained):
    model, history, _ = trained
    held = _bars(64, 1)
    accuracy = (predict_probabilities(model, held.images).argmax(axis=1) == held.labels).mean()
    assert accuracy == pytest.approx(history[-1]["val_accuracy"])


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path):
    training = FAST
    train, held = _bars(192), _bars(64, 1)
    whole = _model()
    expected = train_recogniser(whole, train, held, training, state=tmp_path / "whole.npz")
    with pytest.raises(KeyboardInterrupt):
        train_recogniser(_model(), train, held, training, state=tmp_path / "cut.npz", callbacks=(StopAfter(2),))
    again = _model(seed=5)
    history = train_recogniser(again, train, held, training, state=tmp_path / "cut.npz")
    assert [r["loss"] for r in history] == pytest.approx([r["loss"] for r in expected], rel=1e-5)
    for a, b in zip(whole.weights, again.weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    once_more = _model(seed=6)
    assert train_recogniser(once_more, train, held, training, state=tmp_path / "cut.npz") == history
    np.testing.assert_array_equal(once_more.weights[0], again.weights[0])


def test_early_stopping_keeps_the_best_epoch():
    training = dataclasses.replace(FAST, epochs=12, patience=1, keep="best", learning_rate=0.05, schedule="constant")
    history = train_recogniser(_model(), _bars(128), _bars(64, 1), training)
    assert len(history) < 12


def test_plain_sgd_without_average_or_warp():
    training = RecogniserTraining(
        epochs=2, batch_size=32, optimizer="sgd", learning_rate=0.1, schedule="constant", ema=0.0, augment=False
    )
    history = train_recogniser(_model(), _bars(128), _bars(64, 1), training)
    assert history[-1]["learning_rate"] == pytest.approx(0.1)


def test_a_loss_that_becomes_nan_is_an_error_that_says_what_to_do():
    training = dataclasses.replace(FAST, learning_rate=1e30, schedule="constant")
    with pytest.raises(InputError, match="learning-rate"):
        train_recogniser(_model(), _bars(128), _bars(64, 1), training)
    with pytest.raises(InputError, match="batch"):
        train_recogniser(_model(), _bars(10), _bars(64, 1), FAST)


def test_batches_of_an_epoch_depend_on_seed_and_epoch_only():
    train = _bars(130)
    steps = 130 // 64

    def epoch(first, number, seed=0):
        batches = list(augmented_batches(train, FAST, seed, first).take(steps * (number - first + 1)))[-steps:]
        return np.concatenate([b[0].numpy() for b in batches])

    np.testing.assert_array_equal(epoch(0, 2), epoch(2, 2))
    assert (epoch(0, 0) != epoch(1, 1)).any()
    assert (epoch(0, 0) != epoch(0, 0, seed=1)).any()


def test_schedules_rise_and_fall():
    rate = WarmupCosine(1.0, 100, rise=0.2)
    values = [float(rate(s)) for s in range(101)]
    assert np.argmax(values) == 20
    assert values[0] == pytest.approx(0.05)
    assert values[-1] == pytest.approx(1e-3)
    assert WarmupCosine.from_config(rate.get_config())(50) == rate(50)
    assert learning_rate("constant", 0.1, 10) == 0.1


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "growing"])
def test_the_adversary_stays_near_and_raises_the_loss(trained, kind):
    model = trained[0]
    bars = _bars(40, 3)
    images, labels = tf.constant(bars.images[..., None], tf.float32), tf.one_hot(bars.labels, 2)
    to_logits = logits_model(model)
    adversary = Adversary(kind=kind, epsilon=0.2, **({} if kind == "fgsm" else {"steps": 3}))
    bad = perturb(to_logits, images, labels, adversary)
    assert float(tf.reduce_max(tf.abs(bad - images))) <= 255 * 0.2 + 1e-3
    assert float(tf.reduce_min(bad)) >= 0
    assert float(tf.reduce_max(bad)) <= 255
    losses = [tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, to_logits(x))) for x in (images, bad)]
    assert float(losses[1]) > float(losses[0])
    assert float(tf.reduce_max(tf.abs(perturb(to_logits, images, labels, adversary, 0.0) - images))) == 0


def test_adversarial_training_trains_the_wrapped_model():
    model = _model(config=dataclasses.replace(TINY, normalise=False))
    before = model.get_layer("stem_conv").kernel.numpy().copy()
    trainer = AdversarialTrainer(model, Adversary(epsilon=0.1, clean=0.3), total_steps=4)
    history = train_recogniser(trainer, _bars(128), _bars(64, 1), dataclasses.replace(FAST, epochs=2))
    assert np.abs(model.get_layer("stem_conv").kernel.numpy() - before).max() > 0
    assert np.isfinite(history[-1]["loss"])
    assert 0 <= history[-1]["accuracy"] <= 1
    assert 0 <= history[-1]["val_robust_accuracy"] <= 1  # Of the first 50 of each batch.


def test_a_growing_adversary_takes_more_steps_as_training_goes_on():
    adversary = Adversary(kind="growing", steps=4)
    assert [int(attack_steps(adversary, done)) for done in (0.0, 0.24, 0.25, 0.6, 0.99, 1.0)] == [1, 1, 2, 3, 4, 4]
