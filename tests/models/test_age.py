"""The age regressor: what it answers before training, what an unfreeze ratio moves, and its saved form."""

import keras
import numpy as np
import pytest

from age_keras.config.model import ModelConfig
from age_keras.errors import InputError
from age_keras.models.age import backbone_layers, build_age_model, load_age_model, unfreeze
from age_keras.run.bundle import save_bundle

TINY = ModelConfig(weights="none")


@pytest.fixture(scope="module")
def model():
    return build_age_model("resnet10", TINY, image_size=32, channels=1, median=17.0, deviation=4.0)


@pytest.fixture
def patches():
    return np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)


def test_untrained_it_answers_the_median_for_any_page(model, patches):
    assert np.allclose(model.predictor(patches), 17.0)


def test_an_unfreeze_ratio_moves_the_top_of_the_network_to_the_end_of_a_block(model):
    layers = backbone_layers(model.trained)
    assert unfreeze(model, 0.0) == 0
    assert {v.path.split("/")[0] for v in model.trained.trainable_variables} == {"head_output"}
    assert unfreeze(model, 1.0) == len(layers)
    counts = [unfreeze(model, ratio) for ratio in (0.1, 0.25, 0.5, 0.75)]
    assert counts == sorted(counts)
    for ratio in (0.25, 0.5):
        first = len(layers) - unfreeze(model, ratio)
        assert layers[first - 1].name in model.spec.cut_points
        assert not any(layer.trainable for layer in layers[:first])
    with pytest.raises(InputError, match=r"unfreeze=1.5"):
        unfreeze(model, 1.5)


@pytest.mark.parametrize(("batch_norm", "moves"), [("inference", False), ("training", True), ("auto", True)])
def test_batch_norm_follows_its_setting(batch_norm, moves, patches):
    config = ModelConfig(weights="none", batch_norm=batch_norm)
    model = build_age_model("resnet10", config, 32)
    unfreeze(model, 1.0)
    statistics = [w for w in model.trained.weights if "moving_mean" in w.path]
    before = [w.numpy().copy() for w in statistics]
    model.trained(patches, training=True)
    changed = [not np.array_equal(b, w.numpy()) for b, w in zip(before, statistics, strict=True)]
    assert any(changed) == moves


def test_a_class_token_where_there_is_none():
    config = ModelConfig(weights="none", pooling="class_token")
    with pytest.raises(InputError, match="resnet10 has no class token"):
        build_age_model("resnet10", config, 32)


@pytest.mark.parametrize("pooling", ["max", "average_max"])
@pytest.mark.parametrize("head", ["dldl", "quantile"])
def test_the_saved_model_answers_the_same_and_keeps_its_facts(tmp_path, patches, pooling, head):
    config = ModelConfig(weights="none", pooling=pooling, head=head)
    model = build_age_model("resnet10", config, 32, median=20.0, deviation=5.0)
    output = model.trained.get_layer("head_output")
    output.kernel.assign(keras.random.normal(output.kernel.shape, seed=1))
    path = tmp_path / "model.keras"
    save_bundle(path, model.predictor, {"kind": "age", "bands": [15]})
    loaded, facts = load_age_model(path)
    assert facts == {"kind": "age", "bands": [15]}
    assert np.array_equal(loaded(patches), model.predictor(patches))
    assert list(tmp_path.iterdir()) == [path]
