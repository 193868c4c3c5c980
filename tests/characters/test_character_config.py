"""Settings of a recogniser: what cannot be is refused where it is built, from Python too."""

import pytest

from age_keras.characters.config import Confidence, RecogniserTraining
from age_keras.errors import InputError


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("patience", -1),
        ("learning_rate", 0.0),
        ("ema", 1.0),
        ("label_smoothing", -0.1),
        ("momentum", 2.0),
        ("optimizer", "adam"),
        ("schedule", "linear"),
        ("keep", "all"),
    ],
)
def test_an_impossible_training_is_named(key, value):
    with pytest.raises(InputError, match=f"`{key}` must.*{key}="):
        RecogniserTraining(**{key: value})


@pytest.mark.parametrize("share", [{"coverage": 1.0}, {"coverage": 0.0}, {"accuracy": 1.5}])
def test_a_promise_that_is_no_share_is_named(share):
    with pytest.raises(InputError, match=r"`(coverage|accuracy)` must lie"):
        Confidence(**share)
