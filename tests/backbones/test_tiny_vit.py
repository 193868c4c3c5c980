"""TinyViT: the published network to float32 rounding, at any size, saved, compiled and in half precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from published import oracle_model, pixels, relative_difference

from age_keras.backbones import build_backbone, get_spec
from age_keras.backbones.checkpoints.torch_weights import load_torch_weights, torch_names
from age_keras.backbones.checkpoints.weight_map import renamed
from age_keras.backbones.layers.window_attention import OffsetBiasAttention
from age_keras.errors import InputError

SMALL = {"embed_dims": (4, 8, 8, 8), "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2), "window_sizes": (2, 2, 4, 2)}
# With the norm after the pooling and 1000 classes, as the paper's table 1 counts (5.4, 11 and 21 million).
PUBLISHED = {"tinyvit_5m": (320, 5_392_764), "tinyvit_11m": (448, 10_996_972), "tinyvit_21m": (576, 21_198_568)}


def small(image_size=64, **architecture):
    return build_backbone("tinyvit_5m", image_size, **{**SMALL, **architecture})


@pytest.fixture(scope="module")
def oracle(shared_data):
    """Our network with the random weights of the published one, and what that one makes of an input."""
    return oracle_model(shared_data, "tiny_vit", "tinyvit_5m", get_spec("tinyvit_5m").weight_map)[:3]


def test_gives_the_published_features(oracle):
    model, x, expected = oracle
    assert relative_difference(model(x), expected) < 1e-5


def test_is_the_same_after_saving_and_loading(oracle, tmp_path):
    model, x, _ = oracle
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.slow
def test_gives_the_published_features_under_xla(oracle):
    model, x, expected = oracle
    assert relative_difference(tf.function(model, jit_compile=True)(x), expected) < 1e-5


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "tinyvit_5m")) for name in PUBLISHED]
)
def test_has_the_published_parameters(name):
    model, (width, published) = build_backbone(name), PUBLISHED[name]
    trainable = sum(variable.value.shape.num_elements() for variable in model.trainable_variables)
    assert model.output_shape == (None, 7, 7, width)
    assert trainable == get_spec(name).parameters
    assert trainable + 2 * width + 1000 * (width + 1) == published


@pytest.mark.parametrize(("image_size", "side"), [(32, 1), (64, 2), (65, 3), (100, 4)])
def test_any_size_builds_where_windows_do_not_tile(image_size, side):
    model = small(image_size)
    assert model(pixels(2, image_size)).shape == (2, side, side, 8)


def test_bias_of_two_cells_depends_on_their_distance_alone():
    attention = OffsetBiasAttention(num_heads=1, window_size=3)
    attention.build((None, 4, 9, 12))
    attention.attention_biases.assign([np.arange(9.0)])
    bias = np.asarray(attention.position_bias())[0]
    for a in range(9):
        for b in range(9):
            dy, dx = abs(a // 3 - b // 3), abs(a % 3 - b % 3)
            assert bias[a, b] == 3 * dy + dx


def test_a_window_sees_nothing_of_its_neighbours():
    attention = OffsetBiasAttention(num_heads=2, window_size=2)
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 24)).astype("float32")
    changed = x.copy()
    changed[0, 3] += 1
    before, after = np.asarray(attention(x)), np.asarray(attention(changed))
    np.testing.assert_array_equal(before[0, :3], after[0, :3])
    assert np.abs(before[0, 3] - after[0, 3]).max() > 0.1


def published_state(model, seed=0):
    """A random state dict under the published names, with the classifier and counters that a checkpoint has besides."""
    random = np.random.default_rng(seed)
    state = {
        name: random.normal(size=layout.torch_shape(tuple(variable.shape))).astype("float32")
        for name, (variable, layout) in torch_names(model).items()
    }
    extra = {"head.norm.weight": np.ones(8), "head.fc.weight": np.ones((10, 8)), "head.fc.bias": np.ones(10)}
    counter = {"patch_embed.conv1.bn.num_batches_tracked": np.array(3)}
    return {**state, **extra, **counter, "stages.1.blocks.0.attn.attention_bias_idxs": np.zeros((4, 4), int)}


def test_names_are_the_published_ones():
    names = set(torch_names(small()))
    assert "patch_embed.conv1.bn.running_var" in names
    assert {"stages.0.blocks.0.conv2.conv.weight", "stages.1.downsample.conv3.bn.bias"} <= names
    assert {"stages.3.blocks.0.attn.attention_biases", "stages.3.blocks.0.local_conv.conv.weight"} <= names


def test_tables_of_biases_are_interpolated_for_another_window():
    model, larger = small(), small(window_sizes=(2, 2, 6, 2))
    state = published_state(model)
    name = "stages.2.blocks.0.attn.attention_biases"
    y, x = np.divmod(np.arange(16), 4)
    state[name] = np.stack([y, x]).astype("float32")  # A slope stays a slope, but for the borders.
    load_torch_weights(larger, state, get_spec("tinyvit_5m").weight_map)
    table = np.asarray(larger.get_layer("stages.2.blocks.0.attn").attention_biases).reshape(2, 6, 6)
    expected = (np.arange(6) + 0.5) * 4 / 6 - 0.5
    np.testing.assert_allclose(table[0, 2:4, 0], expected[2:4], atol=0.02)
    np.testing.assert_allclose(table[1], table[0].T, atol=1e-6)


def test_a_checkpoint_of_another_size_names_what_does_not_fit():
    state = published_state(small(depths=(1, 1, 2, 1)))
    with pytest.raises(InputError, match=r"left over.*stages\.2\.blocks\.1"):
        load_torch_weights(small(), state, get_spec("tinyvit_5m").weight_map)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_stays_near_single(policy):
    single = small()
    keras.config.set_dtype_policy(policy)
    try:
        half = small()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(single.get_weights())
    x = pixels(2, 64)
    assert half.output.dtype == policy.removeprefix("mixed_")
    assert relative_difference(keras.ops.cast(half(x), "float32"), np.asarray(single(x))) < 0.1


@pytest.mark.slow
def test_gradients_reach_every_weight_and_are_finite():
    model = small(depths=(2, 1, 1, 1))
    for layer in model.layers:  # The blocks' last norm starts at zero and holds back what stands before it.
        if layer.name.endswith("conv3.bn"):
            layer.gamma.assign(keras.ops.ones_like(layer.gamma))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(pixels(2, 64), training=True)))
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.slow
def test_stochastic_depth_acts_in_training_alone():
    model, x = small(drop_path_rate=0.9, depths=(1, 1, 2, 2)), pixels(4, 64)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    np.testing.assert_array_equal(model(x), model(x))
    assert np.abs(np.asarray(model(x, training=True)) - np.asarray(model(x))).max() > 0


@pytest.fixture(scope="module")
def narrow():
    """All the blocks of the published network, few channels."""
    return build_backbone("tinyvit_5m", 32, **{**SMALL, "depths": (2, 2, 6, 2)})


@pytest.mark.parametrize("cut", [0, 2, -2])
def test_the_graph_can_be_cut_at_the_end_of_a_block(narrow, cut):
    """The samples are the first axis of what passes a cut point, and what passes is all that the rest needs."""
    middle = narrow.get_layer(get_spec("tinyvit_5m").cut_points[cut]).output
    x = pixels(3, 32)
    passed = keras.Model(narrow.input, middle)(x)
    assert passed.shape[0] == 3
    np.testing.assert_allclose(keras.Model(middle, narrow.output)(passed), narrow(x), rtol=1e-4, atol=1e-5)


def test_the_map_that_grad_cam_reads_is_the_output(narrow):
    assert narrow.get_layer(get_spec("tinyvit_5m").cam_layer).output is narrow.output


def test_the_authors_own_names_are_known():
    """Their layers halve the map at the end of a stage, ours at the start of the next; a convolution is `c` there."""
    model, same = small(), small()
    rename = (
        (r"^patch_embed\.conv1\.", "patch_embed.seq.0."),
        (r"^patch_embed\.conv2\.", "patch_embed.seq.2."),
        (r"^stages\.(\d+)\.downsample\.", lambda found: f"layers.{int(found[1]) - 1}.downsample."),
        (r"^stages\.", "layers."),
        (r"\.conv\.weight$", ".c.weight"),
    )
    random = np.random.default_rng(0)
    state = {
        name: random.normal(size=layout.torch_shape(tuple(variable.shape))).astype("float32")
        for name, (variable, layout) in torch_names(model).items()
    }
    weight_map = get_spec("tinyvit_5m").weight_map
    load_torch_weights(model, state, weight_map)
    load_torch_weights(same, {**renamed(state, rename), "norm_head.weight": np.ones(8)}, weight_map)
    for one, other in zip(model.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
