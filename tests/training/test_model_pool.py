"""A model that is kept trains as one that is built anew: to the last bit, over folds, dropouts, ratios and failures."""

from dataclasses import replace

import numpy as np
import pytest

from age_keras.config.age import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.training.feeds import PatchData
from age_keras.training.model_pool import ModelPool
from age_keras.training.protocol import Part, train

PAGES, PATCHES = 24, 2
CONFIG = AgeConfig(
    backbones=("resnet10",),
    model=ModelConfig(weights="none", dropout=0.3),
    training=TrainingConfig(
        frozen=PhaseConfig(epochs=1, learning_rate=0.02),
        fine_tune=PhaseConfig(epochs=2, learning_rate=1e-3, unfreeze=0.25),
        batch_size=16,
        augment="none",
    ),
    runtime=RuntimeConfig(tensorboard=False),
)


@pytest.fixture
def trainer(inked_pages, tmp_path, monkeypatch):
    """Trains a configuration on a fold, and gives what came of it."""
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path))
    table, store = inked_pages(PAGES, PATCHES)
    data = PatchData(store, table["Age"].to_numpy(np.float32)[store.page][:, None])
    fold = np.arange(PAGES) % 3

    def run(config, number, pool=None, on_epoch=None):
        part = Part(f"fold{number}", fold != number, fold == number, fold == number, number)
        trained = train(config, data, table, part, on_epoch=on_epoch, progress=False, pool=pool)
        return trained.pages["Prediction"].to_numpy(), [v.numpy() for v in trained.model.trained.weights]

    return run


def dropout(rate):
    return replace(CONFIG, model=replace(CONFIG.model, dropout=rate))


def unfrozen(ratio):
    return replace(CONFIG, training=replace(CONFIG.training, fine_tune=PhaseConfig(1, 1e-3, ratio, optimizer="sgd")))


def same(first, second):
    np.testing.assert_array_equal(first[0], second[0])
    for a, b in zip(first[1], second[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_kept_model_trains_as_a_new_one(trainer):
    pool = ModelPool()
    for config, number in ((CONFIG, 0), (CONFIG, 1), (dropout(0.6), 1), (unfrozen(0.5), 2), (CONFIG, 0)):
        same(trainer(config, number, pool), trainer(config, number))


class BrokenOffError(Exception):
    pass


def test_a_training_that_broke_off_leaves_nothing_behind(trainer):
    def break_off(epoch, logs):
        if epoch == 2:  # In the second phase, between two epochs.
            raise BrokenOffError

    pool = ModelPool()
    with pytest.raises(BrokenOffError):
        trainer(CONFIG, 1, pool, on_epoch=break_off)
    same(trainer(CONFIG, 0, pool), trainer(CONFIG, 0))


def test_a_kept_model_starts_from_its_first_weights_with_its_own_median():
    pool = ModelPool()
    age = pool.get(CONFIG, 32, 1, 30.0, 5.0).age
    first = [v.numpy() for v in age.trained.variables]
    for variable in age.trained.variables:
        variable.assign(variable + 1)
    again = pool.get(dropout(0.1), 32, 1, 17.0, 5.0).age
    assert again.trained is age.trained
    assert again.trained.get_layer("head_output").bias.numpy().item() == 17
    assert again.trained.get_layer("head_dropout").rate == again.config.dropout == 0.1
    again.trained.get_layer("head_output").bias.assign([30.0])
    for value, variable in zip(first, again.trained.variables, strict=True):
        np.testing.assert_array_equal(value, variable.numpy())


def test_another_network_is_built():
    pool = ModelPool()
    age = pool.get(CONFIG, 32, 1, 30.0, 5.0).age
    for other in (
        replace(CONFIG, seed=1),
        replace(CONFIG, runtime=replace(CONFIG.runtime, precision="mixed_bfloat16")),
    ):
        assert pool.get(other, 32, 1, 30.0, 5.0).age.trained is not age.trained
