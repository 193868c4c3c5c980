"""What every family of backbones must do, each in a small shape of its own."""

import keras
import numpy as np
import pytest

from age_keras.backbones import build_backbone, get_spec, names
from age_keras.backbones.layers.stochastic_depth import StochasticDepth

# One registered name of each family, a size, and numbers small enough for a test.
SMALL = {
    "beit": ("beit_base", 64, {"embed_dim": 32, "depth": 2, "num_heads": 2}),
    "convnext_v2": ("convnextv2_atto", 64, {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}),
    "dit": ("dit_base", 64, {"embed_dim": 32, "depth": 2, "num_heads": 2}),
    "faster_vit": (
        "fastervit_0",
        224,
        {"depths": (1, 1, 2, 1), "num_heads": (2, 2, 2, 2), "dim": 8, "in_dim": 8},
    ),
    "mit": ("mit_b0", 64, {"depths": (1, 1, 1, 1), "embedding_dims": (8, 16, 20, 32)}),
    "mobile_vit": (
        "mobilevit_xxs",
        96,
        {"filters": (8, 8, 16, 16, 24), "widths": (16, 24, 32), "depths": (1, 1, 2), "last_filters": 32},
    ),
    "mobilenet_v3": ("mobilenetv3_small", 64, None),
    "resnet10": ("resnet10", 64, None),
    "swin_v2": ("swinv2_tiny", 72, {"embed_dim": 8, "depths": (1, 2, 1), "num_heads": (1, 2, 4)}),
    "tiny_vit": ("tinyvit_5m", 64, {"embed_dims": (8, 16, 24, 32), "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 2)}),
    "vit": ("vit_tiny_16", 64, {"project_dim": 32, "num_heads": 2, "depth": 2}),
}
TRANSFORMERS = sorted(family for family, (_, _, numbers) in SMALL.items() if numbers)


QUICK = ("mobile_vit", "resnet10", "swin_v2")  # the others with `make test-all`


def _slow_unless_quick(family):
    return pytest.param(family, marks=[pytest.mark.slow] * (family not in QUICK))


def build(family, **options):
    name, image_size, numbers = SMALL[family]
    return build_backbone(name, image_size, **(numbers or {}), **options)


def pixels(model, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, *model.input_shape[1:])).astype("float32")


def outputs(model, x, **options):
    return keras.ops.convert_to_numpy(keras.ops.cast(model(x, **options), "float32"))


@pytest.fixture(params=[_slow_unless_quick(family) for family in sorted(SMALL)], scope="module")
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(family):
    keras.utils.set_random_seed(0)
    model = build(family)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:  # branches that start from zero would hide what they do
        variable.assign(variable + 0.1 * rng.standard_normal(variable.shape))
    return model


def test_flat(model):
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    assert model.layers[1].name == "preprocessing"


def test_cam_layer_folds_into_a_grid(model, family):
    spec = get_spec(SMALL[family][0])
    name = spec.cam_layer
    if name not in [layer.name for layer in model.layers]:  # named for the published depth
        name = name.rpartition(".")[0]
        name = [layer.name for layer in model.layers if layer.name.rpartition(".")[0] == name][-1]
    shape = model.get_layer(name).output.shape
    if spec.tokens:
        side = round((shape[1] - spec.class_tokens) ** 0.5)
        assert len(shape) == 3
        assert side * side + spec.class_tokens == shape[1]
    else:
        assert len(shape) == 4
        assert shape[1] == shape[2]
    assert tuple(model.output.shape[1:-1]) == tuple(shape[1:-1])


def test_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    x = pixels(model)
    np.testing.assert_array_equal(outputs(again, x), outputs(model, x))


def test_xla(model):
    import tensorflow as tf

    x = pixels(model)
    expected = outputs(model, x)
    compiled = tf.function(lambda x: model(x, training=False), jit_compile=True)
    assert np.abs(np.asarray(compiled(x)) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("xla", [False, True])
def test_gradients_are_finite_and_reach_every_weight(model, xla):
    import tensorflow as tf

    before, trainable = model.get_weights(), [v.value for v in model.trainable_variables]

    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True)))
        return tape.gradient(loss, trainable)

    gradients = (tf.function(step, jit_compile=True) if xla else step)(tf.constant(pixels(model)))
    model.set_weights(before)  # the running statistics as they were
    missing = [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]
    assert not missing
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
def test_half_precision(model, family, policy, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        half = build(family)
        half.set_weights(model.get_weights())
        x = pixels(model)
        got, expected = outputs(half, x), outputs(model, x)
        half.save(tmp_path / "half.keras")
    finally:
        keras.config.set_dtype_policy(before)
    assert half.output.dtype == policy.removeprefix("mixed_")
    assert np.isfinite(got).all()
    assert np.abs(got - expected).mean() < 0.1 * np.abs(expected).max()
    # A saved model keeps its policy, whatever the policy is where it is loaded.
    again = keras.saving.load_model(tmp_path / "half.keras")
    np.testing.assert_array_equal(outputs(again, x), got)


@pytest.mark.parametrize("family", [_slow_unless_quick(family) for family in TRANSFORMERS])
def test_stochastic_depth(family):
    model = build(family, drop_path_rate=0.5)
    x = pixels(model, 4)
    np.testing.assert_array_equal(outputs(model, x), outputs(model, x, training=False))
    drops = [layer for layer in model.layers if isinstance(layer, StochasticDepth)]
    assert drops or family == "mit"  # keras-cv's own, inside the block
    assert sorted(layer.rate for layer in drops) == [layer.rate for layer in drops]


def test_image_size_that_does_not_fit():
    from age_keras.errors import InputError

    for name, size in (("swinv2_tiny", 254), ("beit_base", 100), ("vit_base_32", 208), ("mit_b0", 100)):
        with pytest.raises(InputError, match="use a multiple of"):
            build_backbone(name, size)


def test_every_family_is_here():
    families = {get_spec(name).family for name in names()}
    cnns = {"resnet", "inception", "densenet", "efficientnet_v2"}
    assert families - cnns <= set(SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_facts(name):
    from age_keras.prefix.flops import count_multiply_adds
    from age_keras.prefix.graph import read_graph

    spec = get_spec(name)
    model = build_backbone(name)
    parameters = sum(variable.value.shape.num_elements() for variable in model.trainable_variables)
    assert parameters == spec.parameters
    work, _ = count_multiply_adds(read_graph(model))
    assert sum(work.values()) / 1e9 == pytest.approx(spec.gflops, rel=0.002, abs=0.005)
    layers = [layer.name for layer in model.layers]
    assert spec.cam_layer in layers
    places = [layers.index(cut) for cut in spec.cut_points]
    assert places == sorted(places)
    if spec.paper_parameters:
        classifier = 1000 * (model.output.shape[-1] + 1)
        assert (parameters + classifier) / 1e6 == pytest.approx(spec.paper_parameters, rel=0.04)
    keras.backend.clear_session()
