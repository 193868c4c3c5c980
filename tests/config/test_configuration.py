"""Configurations: every value is checked where it is built, every mistake is named, and JSON gives back the same."""

import dataclasses
import json
import math
import typing
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Union

import pytest
from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt, MinLen
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from age_keras.config.age import (
    AgeConfig,
    CrossValidationConfig,
    FoldsConfig,
    HoldoutConfig,
    PhaseConfig,
    RuntimeConfig,
    TrainingConfig,
)
from age_keras.config.columns import ColumnNames
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.config.serialization import differences, digest, from_dict, to_dict
from age_keras.config.settings import kinds
from age_keras.errors import InputError
from tuning.search_config import ClusterConfig, SearchConfig

CONFIGURATIONS = (
    PhaseConfig,
    TrainingConfig,
    RuntimeConfig,
    AgeConfig,
    HoldoutConfig,
    FoldsConfig,
    CrossValidationConfig,
    ModelConfig,
    PageSettings,
    ColumnNames,
    SearchConfig,
    ClusterConfig,
)
REQUIRED = {PhaseConfig: {"epochs": 3, "learning_rate": 0.1}}
FIELDS = [(cls, name) for cls in CONFIGURATIONS for name in kinds(cls) if name in cls.__annotations__]


st.register_type_strategy(Path, st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1).map(Path))


def back(config):
    return from_dict(type(config), json.loads(json.dumps(to_dict(config))))


def outside(kind):
    """Values that do not belong to an annotation: out of bounds, of another type, not finite, an unknown name."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        found = [outside(arguments[0])]
        for rule in (r for each in arguments[1:] for r in (each if isinstance(each, GroupedMetadata) else [each])):
            if isinstance(rule, Gt | Ge):
                bound = rule.gt if isinstance(rule, Gt) else rule.ge
                found.append(st.floats(max_value=bound, exclude_max=isinstance(rule, Ge)))
                found.append(st.integers(max_value=math.ceil(bound) - 1))
            if isinstance(rule, Lt | Le):
                bound = rule.lt if isinstance(rule, Lt) else rule.le
                found.append(st.floats(min_value=bound, exclude_min=isinstance(rule, Le)))
            if isinstance(rule, MinLen):
                found.append(st.just(()))
        return st.one_of(found)
    if origin is Literal:
        return st.one_of(st.text(), st.booleans(), st.none()).filter(lambda v: v not in arguments or v is True)
    if origin is tuple:
        items = outside(arguments[0]).map(lambda item: (item,))
        return st.one_of(items, st.text(min_size=1), st.integers(), st.none())
    others = {
        bool: [st.integers(), st.text(), st.none()],
        int: [st.booleans(), st.floats(), st.text(), st.none(), st.tuples()],
        float: [st.booleans(), st.just(math.nan), st.just(math.inf), st.text(), st.none()],
        str: [st.booleans(), st.integers(), st.none(), st.tuples()],
        Path: [st.booleans(), st.integers(), st.tuples()],
    }
    return st.one_of(others.get(kind, [st.text(), st.integers(), st.none()]))


@pytest.mark.parametrize(("cls", "name"), FIELDS, ids=[f"{cls.__name__}.{name}" for cls, name in FIELDS])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_value_outside_of_a_fields_domain_is_refused_by_name(cls, name, data):
    kind = kinds(cls)[name]
    members = typing.get_args(kind) if typing.get_origin(kind) in (Union, type(int | str)) else (kind,)
    allowed = [each for each in members if each is type(None) or typing.get_origin(each) is Literal]
    strategy = st.one_of([outside(each) for each in members if each is not type(None)])
    if type(None) in allowed:
        strategy = strategy.filter(lambda value: value is not None)
    if len(members) > 1:
        names = {choice for each in allowed for choice in typing.get_args(each)}
        whole = any(int in (each, *typing.get_args(each)) for each in members)
        strategy = strategy.filter(lambda v: not (isinstance(v, str) and (v in names or str in members)))
        strategy = strategy.filter(lambda v: not (whole and type(v) is int and v > 0) and not isinstance(v, str | Path))
    with pytest.raises(InputError, match=f"(?s)`{name}` .*Received: {name}="):
        cls(**{**REQUIRED.get(cls, {}), name: data.draw(strategy)})


@pytest.mark.parametrize("cls", CONFIGURATIONS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_builds_is_the_same_after_json(cls, data):
    simple = {name: kind for name, kind in kinds(cls).items() if not dataclasses.is_dataclass(kind)}
    chosen = data.draw(st.lists(st.sampled_from(sorted(simple)), unique=True, max_size=3)) if simple else []
    values = {name: data.draw(st.from_type(simple[name])) for name in chosen}
    try:
        config = cls(**{**REQUIRED.get(cls, {}), **values})
    except InputError:
        reject()  # Settings that do not go together.
    assert back(config) == config
    assert digest(back(config)) == digest(config)


def test_a_number_too_large_for_the_machine_is_refused():
    with pytest.raises(InputError, match="`learning_rate` must be"):
        PhaseConfig(1, 10**400)
    with pytest.raises(InputError, match="`epochs` must be"):
        PhaseConfig(10**400, 0.1)


def test_lists_numbers_and_texts_take_the_declared_form():
    config = AgeConfig(backbones=["resnet10"], data="pages", training=TrainingConfig(strength=1))
    assert config.backbones == ("resnet10",)
    assert config.data == Path("pages")
    assert digest(config) == digest(replace(config, training=TrainingConfig(strength=1.0)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochz": 3}, "config.json: unknown key `epochz`"),
        ({"seed": "many"}, "config.json: `seed` must be a whole number"),
        ({"training": {"batch": 3}}, "config.json: training: unknown key `batch`"),
        ({"training": {"batch_size": "x"}}, "config.json: training: `batch_size` must be a whole number of at least 1"),
        ({"training": {"frozen": {"epochs": 1}}}, "config.json: training: frozen: the key `learning_rate` is missing"),
        ({"training": 3}, "config.json: `training` must be a TrainingConfig"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_place(values, message):
    with pytest.raises(InputError, match=message):
        from_dict(AgeConfig, values, "config.json")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PhaseConfig(3, 0.1, warmup=4), "`warmup` must be at most the number of epochs"),
        (lambda: PhaseConfig(3, 0.1, weight_decay=0.1), "`weight_decay` has no effect with optimizer=adam"),
        (lambda: PhaseConfig(3, 0.1, schedule="cosine", plateau_patience=2), "`plateau_patience` has no effect"),
        (lambda: PhaseConfig(3, 0.1, layer_decay=0.7), "`layer_decay` has no effect with unfreeze=0"),
        (lambda: TrainingConfig(frozen=PhaseConfig(0, 1.0), fine_tune=PhaseConfig(0, 1.0)), "0 epochs"),
        (lambda: TrainingConfig(augment="none", strength=2), "`strength` has no effect with augment=none"),
        (lambda: TrainingConfig(mix="c_mixup", views=4), "`views` has no effect with mix=c_mixup"),
        (lambda: ModelConfig(head="corn", loss="mse"), "`loss` has no effect with head=corn"),
        (lambda: RuntimeConfig(strategy="mirrored", prefix_compute="bfloat16"), "`prefix_compute` has no effect"),
        (lambda: RuntimeConfig(prefix_cache=False, prefix_precision="float16"), "`prefix_precision` has no effect"),
        (lambda: PageSettings(patch_size=100), "`stride` must not exceed patch_size=100"),
        (lambda: PageSettings(blank="none", min_ink=0.1), "`min_ink` has no effect with blank=none"),
        (lambda: AgeConfig(backbones=("a", "a")), "without repetitions"),
        (lambda: AgeConfig(bands=(25, 15)), "each above the one before"),
        (lambda: AgeConfig(run="../elsewhere"), "`run` must be .* naming one folder"),
        (lambda: AgeConfig(data="pages", synthetic_writers=50), "`synthetic_writers` has no effect"),
        (lambda: HoldoutConfig(validation=0.5, test=0.5), "sum to less than 1"),
        (lambda: FoldsConfig(column="Fold", count=3), "`count` has no effect"),
        (lambda: FoldsConfig(selection="published", selection_fraction=0.2), "`selection_fraction` has no effect"),
        (lambda: SearchConfig(oracle="hyperband", race=2), "`race` has no effect"),
        (lambda: SearchConfig(runtime=RuntimeConfig(workers=2)), "`runtime` must be a SerialRuntime"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_phase_may_be_all_warm_up():
    assert PhaseConfig(1, 0.1, warmup=1).warmup == 1


def test_a_phase_without_epochs_is_left_out_with_all_that_it_says():
    assert PhaseConfig(0, 0.1, warmup=2, layer_decay=0.7).epochs == 0


def test_the_digest_follows_the_values_and_differences_are_named():
    config = AgeConfig()
    assert digest(config) == digest(AgeConfig())
    other = replace(config, training=replace(config.training, batch_size=8))
    assert digest(config) != digest(other)
    assert differences(to_dict(config), to_dict(other)) == ["training.batch_size: 32 -> 8"]
