"""Settings of a recogniser: what cannot be, and what would be ignored, is refused where it is built."""

import math

import pytest

from age_keras.characters.config import (
    Adversary,
    CharacterRun,
    Confidence,
    RecogniserConfig,
    RecogniserTraining,
    WarpSettings,
)
from age_keras.errors import InputError
from experiments import digits_ablation, digits_emnist, digits_mnist, digits_robust, digits_writers


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (RecogniserConfig, "encoder", "cnn"),
        (RecogniserConfig, "dropout", 1.0),
        (RecogniserConfig, "stages", ((0,),)),
        (RecogniserConfig, "units", 64.5),
        (RecogniserTraining, "epochs", 0),
        (RecogniserTraining, "epochs", True),
        (RecogniserTraining, "batch_size", 0),
        (RecogniserTraining, "patience", -1),
        (RecogniserTraining, "learning_rate", 0.0),
        (RecogniserTraining, "learning_rate", math.inf),
        (RecogniserTraining, "weight_decay", -0.1),
        (RecogniserTraining, "ema", 1.0),
        (RecogniserTraining, "label_smoothing", math.nan),
        (RecogniserTraining, "momentum", 2.0),
        (RecogniserTraining, "optimizer", "adam"),
        (RecogniserTraining, "schedule", "linear"),
        (RecogniserTraining, "keep", "all"),
        (WarpSettings, "rotation", -8),
        (WarpSettings, "zoom", 1.0),
        (WarpSettings, "width", 1.5),
        (Confidence, "coverage", 1.0),
        (Confidence, "coverage", 0.0),
        (Confidence, "accuracy", 1.5),
        (Adversary, "kind", "cw"),
        (Adversary, "epsilon", 0),
        (Adversary, "step_size", 0.0),
        (CharacterRun, "limit", -1),
        (digits_mnist.Config, "data", "cifar"),
        (digits_mnist.Config, "seeds", ()),
        (digits_mnist.Config, "seeds", (1, 1)),
        (digits_mnist.Config, "validation", 0),
        (digits_mnist.Config, "validation", math.nan),
        (digits_emnist.Config, "split", "capitals"),
        (digits_robust.Config, "epsilons", (0.1, 2.0)),
        (digits_robust.Config, "restarts", 0),
        (digits_ablation.Config, "variants", ("whole", "whole")),
        (digits_writers.Config, "folds", 1),
    ],
)
def test_what_cannot_be_is_named(kind, key, value):
    with pytest.raises(InputError, match=f"`{key}` must.*{key}="):
        kind(**{key: value})


@pytest.mark.parametrize(
    ("kind", "changes", "key"),
    [
        (RecogniserConfig, {"blocks": 3}, "blocks"),
        (RecogniserConfig, {"encoder": "transformer", "recurrence": "lstm"}, "recurrence"),
        (RecogniserTraining, {"momentum": 0.9}, "momentum"),
        (WarpSettings, {"erase_side": 0.5}, "erase_side"),
        (WarpSettings, {"elastic": 0, "elastic_grid": 7}, "elastic_grid"),
        (Adversary, {"kind": "fgsm", "steps": 3}, "steps"),
    ],
)
def test_what_would_be_ignored_is_refused(kind, changes, key):
    with pytest.raises(InputError, match=f"`{key}` has no effect.*{key}="):
        kind(**changes)


def test_settings_that_contradict_each_other_are_refused():
    with pytest.raises(InputError, match="units=20, heads=3"):
        RecogniserConfig(encoder="transformer", units=20, heads=3)
    with pytest.raises(InputError, match="exclude each other"):
        digits_mnist.Config(size="small", model=RecogniserConfig(units=32))
