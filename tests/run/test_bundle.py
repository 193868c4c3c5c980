"""Bundles: a model with its facts in one file, and a sentence for every file that is none."""

import keras
import numpy as np
import pytest

from age_keras.errors import InputError
from age_keras.run.bundle import load_bundle, read_facts, save_bundle


@pytest.fixture
def saved(tmp_path):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    path = tmp_path / "checkpoints" / "model.keras"
    save_bundle(path, model, {"kind": "age", "bands": [15, 25]})
    return path, model


def test_a_saved_model_comes_back_with_its_facts(saved):
    path, model = saved
    again, facts = load_bundle(path, "age")
    assert facts == {"kind": "age", "bands": [15, 25]}
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(again(x), model(x))
    assert list(path.parent.iterdir()) == [path]


def test_a_model_that_cannot_be_saved_leaves_the_old_file(saved):
    path, model = saved
    before = path.read_bytes()
    facts = {"kind": "age"}
    facts["itself"] = facts
    with pytest.raises(ValueError, match="Circular"):
        save_bundle(path, model, facts)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_model_of_another_kind_is_refused(saved):
    with pytest.raises(InputError, match=r"model\.keras holds a model of the kind age; one of the kind characters"):
        load_bundle(saved[0], "characters")


def test_what_is_no_bundle_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"no model .*missing.keras"):
        read_facts(tmp_path / "missing.keras")
    (tmp_path / "text.keras").write_text("hello")
    with pytest.raises(InputError, match=r"text.keras is not a model"):
        read_facts(tmp_path / "text.keras")
