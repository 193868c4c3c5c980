"""Configurations: there and back, and every mistake named."""

import json
from dataclasses import replace

import pytest

from age_keras.config.age import AgeConfig, PhaseConfig, TrainingConfig
from age_keras.config.serialization import differences, digest, from_dict, to_dict
from age_keras.errors import InputError


def test_json_and_back_is_the_same_configuration():
    config = AgeConfig(backbones=("resnet10", "densenet121"), training=TrainingConfig(views=4))
    assert from_dict(AgeConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("epochz", 3, "unknown key `epochz`"),
        ("seed", "many", "`seed` is 'many'"),
        ("training", {"batch": 3}, "training: unknown key `batch`"),
        ("training", {"batch_size": "x"}, "`training.batch_size` is 'x'"),
    ],
)
def test_a_wrong_key_or_type_is_named(key, value, message):
    with pytest.raises(InputError, match=message):
        from_dict(AgeConfig, {key: value}, "config.json")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PhaseConfig(3, 0.0), "learning_rate"),
        (lambda: PhaseConfig(3, 0.1, unfreeze=1.5), "unfreeze=1.5"),
        (lambda: PhaseConfig(-1, 0.1), "epochs=-1"),
        (lambda: TrainingConfig(batch_size=0), "batch_size=0"),
        (lambda: TrainingConfig(views=0), "views=0"),
        (lambda: TrainingConfig(frozen=PhaseConfig(0, 1.0), fine_tune=PhaseConfig(0, 1.0)), "0 epochs"),
    ],
)
def test_an_impossible_value_is_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_the_digest_follows_the_values_and_differences_are_named():
    config = AgeConfig()
    assert digest(config) == digest(AgeConfig())
    other = replace(config, training=replace(config.training, batch_size=8))
    assert digest(config) != digest(other)
    assert differences(to_dict(config), to_dict(other)) == ["training.batch_size: 32 -> 8"]
