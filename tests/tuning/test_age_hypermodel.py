"""The spaces make configurations that train, through the same code as every experiment."""

from dataclasses import replace

import keras_tuner
import numpy as np
import pytest

from age_keras.characters.config import RecogniserConfig, RecogniserTraining
from age_keras.config.age import PhaseConfig, SerialRuntime, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.data.table.samples import Samples
from age_keras.run.folder import Run
from age_keras.training.feeds import PatchData
from age_keras.training.heads.batched import train_all_heads
from age_keras.training.study import Study
from tuning import hypermodel as module
from tuning.hypermodel import AgeHyperModel, search_parts
from tuning.measure import chosen_config, measure
from tuning.outcome import difference
from tuning.search_config import SearchConfig
from tuning.spaces import basic, recogniser, wide
from tuning.trials import TrialRecord

PAGES, PATCHES = 32, 2
CONFIG = SearchConfig(
    backbones=("resnet10",),
    model=ModelConfig(weights="none", batch_norm="inference"),
    training=TrainingConfig(
        frozen=PhaseConfig(epochs=2, learning_rate=0.02),
        fine_tune=PhaseConfig(epochs=1, learning_rate=1e-3, unfreeze=0.25),
        batch_size=16,
        augment="none",
        batched_heads=True,
    ),
    runtime=SerialRuntime(save_every=0, tensorboard=False),
    bands=(),
    test=0.25,
    selection_fraction=0.3,
    folds=2,
)


def study(tmp_path, inked_pages, config=CONFIG):
    """A study of pages whose blackness grows with the age."""
    table, store = inked_pages(PAGES, PATCHES)
    run = Run(tmp_path / "run")
    run.path.mkdir(exist_ok=True)
    data = PatchData(store, table["Age"].to_numpy(np.float32)[store.page][:, None])
    return Study(config, run, Samples(tmp_path, table), data, False)


def hypermodel(opened, parts):
    return AgeHyperModel(opened, parts)


def values(**given):
    hp = keras_tuner.HyperParameters()
    basic(hp, CONFIG)
    hp.values = {**hp.values, **given}
    return hp


class KilledError(BaseException):
    pass


@pytest.mark.slow
def test_a_trial_killed_in_its_second_fold_goes_on_there_and_its_choice_is_measured(tmp_path, inked_pages):
    opened = study(tmp_path, inked_pages)
    parts, outer = search_parts(opened, 2)
    seen = np.any([part.learn | part.choose | part.score for part in parts], axis=0)
    assert not (set(opened.table["Writer"][seen]) & set(opened.table["Writer"][outer.score]))
    model = hypermodel(opened, parts)

    def kill(record, logs):
        if logs is not None and len(record.folds) == 1:
            raise KilledError

    model.on_event = kill
    with pytest.raises(KilledError):
        model.fit(values(unfreeze=0.25), trial_id="0")
    first = model.trials.read("0").folds
    assert len(first) == 1
    again = hypermodel(opened, parts)
    result = again.fit(values(unfreeze=0.25), trial_id="0")
    record = again.trials.read("0")
    assert record.folds[0] == first[0]
    assert record.status == "complete"
    assert result["objective"] == pytest.approx(np.mean([fold["mae"] for fold in record.folds]))
    assert [len(fold["curve"]) for fold in record.folds] == [3, 3]
    assert {path.name for path in again.trials.folder_of("0").iterdir()} == {"fold1.keras", "fold2.keras"}
    measured = measure(opened, outer, chosen_config(opened.config, record), "0", progress=False)
    assert len(measured.rows) == outer.score.sum()
    gain, low, high = difference(measured)
    assert low <= gain <= high


@pytest.mark.parametrize(("restarted", "every"), [(False, 60.0), (True, 0.0)])
def test_a_trial_whose_process_died_saves_every_epoch(restarted, every, tmp_path, inked_pages, monkeypatch):
    opened = study(tmp_path, inked_pages, replace(CONFIG, runtime=SerialRuntime(save_every=60, tensorboard=False)))
    model = hypermodel(opened, search_parts(opened, 2)[0])
    model.trials.write(TrialRecord("0", values().values, starts=1, worker="tuner0"))
    asked = []

    def train(config, *_, **__):
        asked.append(config.runtime.save_every)
        raise MemoryError

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(model, "_head", lambda *_: None)
    model.restarted = restarted
    with pytest.raises(keras_tuner.errors.FailedTrialError):
        model.fit(values(), trial_id="0")
    assert asked == [every]


def test_heads_of_several_trials_train_together_and_are_what_they_are_alone(tmp_path, inked_pages, monkeypatch):
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path / "cache"))
    opened = study(tmp_path, inked_pages)
    parts = search_parts(opened, 2)[0]
    passes = []

    def counted(study, configs, *rest):
        passes.append(len(configs))
        return train_all_heads(study, configs, *rest)

    monkeypatch.setattr(module, "train_all_heads", counted)
    trials = [values(dropout=0.2), values(dropout=0.5, learning_rate=0.004), values(dropout=0.2, unfreeze=0.5)]
    together, alone = hypermodel(opened, parts), hypermodel(opened, parts)
    together.ahead = lambda count: trials[1:]
    for hp in trials:
        config = together.space(hp)
        for fold in (1, 2):
            one, other = together._head(config, fold), alone._head(config, fold)
            np.testing.assert_array_equal(one.kernel, other.kernel)
            np.testing.assert_array_equal(one.bias, other.bias)
            assert one.history == other.history
    assert passes == [3, 1, 1, 1]


def test_an_unfreeze_ratio_of_zero_trains_the_head_alone():
    config = basic(values(unfreeze=0.0, dropout=0.2, learning_rate=1e-3), CONFIG)
    assert (config.training.fine_tune.epochs, config.training.frozen.epochs) == (0, 2)
    assert config.model.dropout == 0.2
    assert basic(values(unfreeze=0.5), CONFIG).training.fine_tune.unfreeze == 0.5


def test_every_point_of_the_wide_space_is_a_configuration():
    declared = keras_tuner.HyperParameters()
    # Whatever the user asked for beside the space: what a trial does not use must not refuse it.
    training = replace(CONFIG.training, augment="handwriting", strength=2.0)
    model = replace(CONFIG.model, loss="mse")
    base = replace(CONFIG, backbones=("resnet10", "resnet50"), training=training, model=model)
    wide(declared, base)
    assert len(declared.space) == 12
    for seed in range(40):
        hp = keras_tuner.HyperParameters()
        for each in declared.space:
            hp.merge([each])
            if hp.is_active(each):
                hp.values[each.name] = each.random_sample(seed)
                seed += 97
        config = wide(hp, base)
        assert config.backbone in base.backbones
        if config.training.frozen.optimizer != "adamw":
            assert config.training.frozen.weight_decay == 0


def test_the_recognisers_space_starts_from_its_defaults():
    model, training = RecogniserConfig(), RecogniserTraining()
    assert recogniser(keras_tuner.HyperParameters(), model, training) == (model, training)
