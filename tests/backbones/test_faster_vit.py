"""FasterViT: the published network to float32 rounding, at every size its windows tile, saved, compiled, in halves."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from published import oracle_model, pixels, relative_difference

from age_keras.backbones import build_backbone, get_spec
from age_keras.backbones.checkpoints.torch_weights import load_torch_weights, torch_names
from age_keras.backbones.checkpoints.weights import licence_notice
from age_keras.backbones.families.faster_vit import WEIGHT_MAP, window_sizes
from age_keras.errors import InputError

SMALL = {"depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2), "window_size": (7, 7, 4, 4), "dim": 4, "in_dim": 4}
# With 1000 classes; the paper's table 2 has 31.4, 53.4, 75.9 and 159.5 million.
PUBLISHED = {"fastervit_0": 31.4, "fastervit_1": 53.4, "fastervit_2": 75.9, "fastervit_3": 159.5}


def small(image_size=128, **architecture):
    return build_backbone("fastervit_0", image_size, **{**SMALL, **architecture})


@pytest.fixture(scope="module")
def oracle(shared_data):
    """Our network with the random weights of the published one, and what that one makes of an input."""
    return oracle_model(shared_data, "faster_vit", "fastervit_0", WEIGHT_MAP)


def test_gives_the_published_features(oracle):
    model, x, expected, _ = oracle
    assert relative_difference(model(x), expected) < 1e-5


@pytest.mark.slow
def test_windows_left_to_choose_are_the_published_ones(oracle):
    model, *_ = oracle
    assert window_sizes(224) == (7, 7, 7, 7)
    assert model.get_layer("levels.2.windows").window_size == 7


def test_biases_of_positions_are_the_published_ones(oracle):
    model, _, _, state = oracle
    for name in ("levels.2.blocks.0.attn", "levels.2.blocks.0.hat_attn", "levels.3.blocks.1.attn"):
        expected = state[f"{name}.pos_emb_funct.relative_bias"][0]
        np.testing.assert_allclose(model.get_layer(name).position_bias(), expected, atol=1e-5)


def test_is_the_same_after_saving_and_loading(oracle, tmp_path):
    model, x, *_ = oracle
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.slow
def test_gives_the_published_features_under_xla(oracle):
    model, x, expected, _ = oracle
    assert relative_difference(tf.function(model, jit_compile=True)(x), expected) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_has_the_published_parameters(name):
    model = build_backbone(name)
    trainable = sum(variable.value.shape.num_elements() for variable in model.trainable_variables)
    width = model.output_shape[-1]
    assert model.output_shape[:3] == (None, 7, 7)
    assert trainable == get_spec(name).parameters
    assert round((trainable + 1000 * (width + 1)) / 1e6, 1) == PUBLISHED[name]


def test_weights_are_said_to_be_non_commercial():
    spec = get_spec("fastervit_2")
    assert not spec.weights["imagenet"].commercial
    assert "does not allow commercial use" in licence_notice(spec, spec.weights["imagenet"])


@settings(max_examples=200, deadline=None)
@given(st.integers(32, 1024))
def test_windows_tile_the_maps_and_carriers_have_neighbours(image_size):
    windows = window_sizes(image_size)
    cells = (-(-image_size // 16), -(-image_size // 32))
    for side, window in zip(cells, windows[2:], strict=True):
        assert window is None or (4 <= window <= 14 and side % window == 0)
    assert windows[2] is None or cells[0] // windows[2] >= 2


@pytest.mark.parametrize("image_size", [128, 160])
def test_sizes_with_fitting_windows_build(image_size):
    model = small(image_size, window_size=None)
    assert model(pixels(1, image_size)).shape == (1, image_size // 32, image_size // 32, 32)


@pytest.mark.parametrize(("image_size", "near"), [(100, "128"), (176, "160"), (300, "288")])
def test_a_size_that_no_windows_tile_is_refused_with_one_that_fits(image_size, near):
    with pytest.raises(InputError, match=rf"image_size={image_size}.*{near}"):
        build_backbone("fastervit_0", image_size)


def test_given_windows_that_do_not_tile_are_refused():
    with pytest.raises(InputError, match="window_size=3 does not tile a map of 8 cells"):
        small(window_size=(7, 7, 3, 4))
    with pytest.raises(InputError, match="window_size=8 does not tile a map of 8 cells in two windows or more"):
        small(window_size=(7, 7, 8, 4))


def published_state(model, seed=0):
    """A random state dict under the published names, with what a checkpoint has besides."""
    random = np.random.default_rng(seed)
    state = {
        name.replace(".scale", ""): random.normal(size=layout.torch_shape(tuple(variable.shape))).astype("float32")
        for name, (variable, layout) in torch_names(model).items()
    }
    tokenizer = "levels.2.global_tokenizer"
    return {
        **state,
        "head.weight": np.ones((10, 32)),
        "norm.num_batches_tracked": np.array(3),
        "levels.2.blocks.0.pos_embed.relative_bias": np.zeros((1, 16, 16)),
        "levels.2.blocks.0.attn.pos_emb_funct.relative_coords_table": np.zeros((1, 7, 7, 2)),
        "levels.2.blocks.0.attn.pos_emb_funct.relative_position_index": np.zeros((16, 16), int),
        f"{tokenizer}.to_global_feature.pos.weight": state[f"{tokenizer}.pos_embed.weight"],
        f"{tokenizer}.to_global_feature.pos.bias": state[f"{tokenizer}.pos_embed.bias"],
    }


def test_factors_of_branches_are_loaded_by_their_published_names():
    model = small(layer_scale=1e-5)
    state = published_state(model)
    load_torch_weights(model, state, WEIGHT_MAP)
    for gamma in ("gamma1", "gamma4"):
        scale = model.get_layer(f"levels.2.blocks.1.{gamma}").scale
        np.testing.assert_array_equal(scale, state[f"levels.2.blocks.1.{gamma}"])


@pytest.mark.slow
def test_weights_fit_another_size_of_image_as_they_are():
    model, larger = small(), small(160, window_size=(7, 7, 5, 5))
    state = published_state(model)
    load_torch_weights(larger, state, WEIGHT_MAP)
    kernel = np.asarray(larger.get_layer("levels.2.blocks.0.hat_attn").output_weight)
    np.testing.assert_array_equal(kernel, state["levels.2.blocks.0.hat_attn.pos_emb_funct.cpb_mlp.2.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_stays_near_single(policy):
    single = small(layer_scale=1.0)
    keras.config.set_dtype_policy(policy)
    try:
        half = small(layer_scale=1.0)
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(single.get_weights())
    x = pixels(2, 128)
    assert half.output.dtype == policy.removeprefix("mixed_")
    assert relative_difference(keras.ops.cast(half(x), "float32"), np.asarray(single(x))) < 0.1


@pytest.mark.slow
def test_gradients_reach_every_weight_and_are_finite():
    model = small(layer_scale=1.0, layer_scale_conv=1.0)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(pixels(2, 128), training=True) ** 3)
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.slow
def test_stochastic_depth_acts_in_training_alone():
    model, x = small(drop_path_rate=0.9), pixels(4, 128)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    np.testing.assert_array_equal(model(x), model(x))
    assert np.abs(np.asarray(model(x, training=True)) - np.asarray(model(x))).max() > 0


def test_the_graph_can_be_cut_at_the_end_of_every_block():
    """The samples are the first axis of what passes a cut point, and what passes is all that the rest needs."""
    model, x = small(), pixels(3, 128)
    expected = np.asarray(model(x))
    for cut in ("patch_embed.conv_down.5", "levels.1.blocks.0", "levels.2.blocks.0", "levels.3.blocks.0"):
        middle = model.get_layer(cut).output
        passed = keras.Model(model.input, middle)(x)
        assert passed.shape[0] == 3
        np.testing.assert_allclose(keras.Model(middle, model.output)(passed), expected, rtol=1e-4, atol=1e-5)


def test_cut_points_and_the_map_of_grad_cam_exist():
    spec = get_spec("fastervit_0")
    model = build_backbone("fastervit_0", 128, **{**SMALL, "depths": (2, 3, 6, 5)})
    names = [layer.name for layer in model.layers]
    assert [names.index(cut) for cut in spec.cut_points] == sorted(names.index(cut) for cut in spec.cut_points)
    assert model.get_layer(spec.cam_layer).output is model.output
