"""Cached training is plain training: the same losses, the same weights, whatever the graph looks like."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from age_keras import backbones
from age_keras.config.model import ModelConfig
from age_keras.models.age import build_age_model, unfreeze
from age_keras.prefix import cut_model

layers = keras.layers


def one_of_each_family():
    """The smallest backbone of every family; two families are in the quick suite, the others slow."""
    specs = [backbones.get_spec(name) for name in backbones.names()]
    families = sorted({spec.family for spec in specs})
    smallest = [min((s for s in specs if s.family == f), key=lambda s: s.parameters).name for f in families]
    return [pytest.param(n, marks=[pytest.mark.slow] * (n not in ("resnet10", "mobilevit_xxs"))) for n in smallest]


def data(model, n=6):
    generator = np.random.default_rng(0)
    shape = (n, *model.input_shape[1:])
    return generator.integers(0, 256, shape).astype("float32"), generator.uniform(8, 60, (n, 1)).astype("float32")


def unsettle(model):
    """BatchNorm statistics that differ from what a batch would give."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(np.random.default_rng(3).normal(0, 0.1, layer.moving_mean.shape))
    return model


def train(build, mode, steps=3, batch=4, eager=True):
    """Losses and weights after a few steps on the same batches, through `whole`, through the cache, or by Keras."""
    keras.utils.set_random_seed(1)
    model = unsettle(build())
    cut = cut_model(model)
    trained = {"plain": model, "whole": cut.whole, "cached": cut.suffix}[mode]
    trained.compile(keras.optimizers.SGD(1e-4), "mae", run_eagerly=eager)
    x, y = data(model)
    losses = []
    for step in range(steps):
        rows = np.random.default_rng(step).permutation(len(x))[:batch]
        given = [t.numpy() for t in cut.prefix(x[rows], training=True)] if mode == "cached" else x[rows]
        losses.append(
            float(trained.train_on_batch(given[0] if mode == "cached" and len(given) == 1 else given, y[rows]))
        )
    return losses, [w.numpy() for w in model.weights], cut


def assert_exact(a, b):
    assert a[0] == b[0]
    for first, second in zip(a[1], b[1], strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", one_of_each_family())
def test_every_family_trains_the_same_from_the_cache(name):
    spec = backbones.get_spec(name)
    side = -(-max(32, spec.min_image_size) // spec.size_multiple) * spec.size_multiple
    age = build_age_model(name, ModelConfig(weights="none", batch_norm="inference", dropout=0.0), side)
    model = unsettle(age.trained)
    kernel = model.get_layer("head_output").kernel
    kernel.assign(np.random.default_rng(2).normal(0, 0.1, kernel.shape))
    unfreeze(age, 0.2)
    cut = cut_model(model)
    assert 0 < cut.suffix_fraction < 0.98
    assert len(cut.boundary) == 1  # The end of a block: several tensors cross inside one.
    assert [id(v) for v in cut.suffix.trainable_variables] == [id(v) for v in model.trainable_variables]
    x, y = data(model, 2)
    before, results = [v.numpy() for v in model.variables], []  # The state of drop-connect's generators too.
    for trained, given in ((cut.suffix, tuple(t.numpy() for t in cut.prefix(x))), (cut.whole, x)):
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)
        trained.compile(keras.optimizers.SGD(1e-4), "mae", run_eagerly=True)
        losses = [float(trained.train_on_batch(given, y))]
        results.append((losses, [v.numpy() for v in model.variables]))
    assert_exact(*results)
    assert any((a != b).any() for a, b in zip(before, results[0][1], strict=True))


def residual():
    """Two frozen blocks with skips, drop-connect and BatchNorm, two trainable ones, a head with dropout."""
    inputs = keras.Input((16, 16, 1))
    x = layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    for i in range(4):
        y = layers.BatchNormalization(name=f"bn{i}")(x)
        y = layers.Conv2D(8, 3, padding="same", activation="relu", name=f"conv{i}")(y)
        y = layers.Dropout(0.5, noise_shape=(None, 1, 1, 1), name=f"drop{i}", seed=i)(y)
        x = layers.Add(name=f"add{i}")([x, y])
    x = layers.GlobalAveragePooling2D(name="head_pooling")(x)
    x = layers.Dropout(0.5, name="head_dropout", seed=9)(x)
    model = keras.Model(inputs, layers.Dense(1, name="head_output")(x))
    for layer in model.layers:
        layer.trainable = layer.name.startswith("head") or layer.name[-1] in "23"
    return model


def concatenated():
    """A dense block: every layer reads all before it, so the boundary is several tensors."""
    inputs = keras.Input((12, 12, 1))
    parts = [layers.Conv2D(6, 3, padding="same", name="stem")(inputs)]
    for i in range(3):
        x = layers.Concatenate(name=f"join{i}")(parts) if len(parts) > 1 else parts[0]
        parts.append(layers.Conv2D(4, 3, padding="same", activation="relu", name=f"conv{i}")(x))
    x = layers.GlobalMaxPooling2D()(layers.Concatenate()(parts))
    model = keras.Model(inputs, layers.Dense(1)(x))
    for name in ("stem", "conv0", "conv1"):
        model.get_layer(name).trainable = False
    return model


def nested():
    base = keras.Sequential([keras.Input((10, 10, 1)), layers.Conv2D(5, 3), layers.BatchNormalization()], name="base")
    inner_input = keras.Input((8, 8, 5))
    y = layers.Conv2D(5, 3, padding="same")(inner_input)
    inner = keras.Model(inner_input, layers.Add()([inner_input, y]), name="inner")
    inputs = keras.Input((10, 10, 1))
    x = inner(inner(base(inputs, training=False)))
    base.trainable = inner.trainable = False
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(layers.Conv2D(3, 3)(x))))


def shared():
    """A frozen convolution used before and after a trainable one."""
    inputs = keras.Input((10, 10, 4))
    twice = layers.Conv2D(4, 3, padding="same", name="twice")
    x = layers.Conv2D(4, 3, padding="same", name="middle")(twice(inputs))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(twice(x))))
    twice.trainable = False
    return model


def tokens():
    """Patch embedding, attention as one composite layer with dropout inside, tokens across the cut."""
    inputs = keras.Input((12, 12, 1))
    x = layers.Reshape((9, 16))(layers.Conv2D(16, 4, strides=4, name="embed")(inputs))
    for i in range(3):
        y = layers.LayerNormalization(name=f"norm{i}")(x)
        x = x + layers.MultiHeadAttention(2, 8, dropout=0.5, seed=i, name=f"attention{i}")(y, y)
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling1D()(x)))
    for name in ("embed", "norm0", "attention0", "norm1", "attention1"):
        model.get_layer(name).trainable = False
    return model


@pytest.mark.parametrize("build", [residual, concatenated, nested, shared, tokens])
def test_every_kind_of_graph_trains_the_same_from_the_cache(build):
    cached, whole = train(build, "cached"), train(build, "whole")
    assert_exact(cached, whole)
    assert len({*cached[0]}) == 3  # The steps did something.


@pytest.mark.parametrize("build", [concatenated, nested, shared])
def test_whole_is_plain_fit_where_nothing_frozen_is_random(build):
    assert_exact(train(build, "whole"), train(build, "plain"))


def test_compiled_training_agrees_within_rounding():
    cached, whole = train(residual, "cached", eager=False), train(residual, "whole", eager=False)
    np.testing.assert_allclose(cached[0], whole[0], rtol=1e-5)


def test_plain_fit_would_run_frozen_drop_connect():
    """The trap: without `whole`, Keras drops branches of frozen blocks."""
    assert train(residual, "plain")[0] != train(residual, "whole")[0]


def test_dropout_of_the_head_stays_active_and_frozen_dropout_does_not():
    cut = cut_model(residual())
    in_prefix = {call.operation.name for call in cut.prefix.calls}
    in_suffix = {call.operation.name for call in cut.suffix.calls}
    assert {"drop0", "drop1"} <= in_prefix
    assert {"drop2", "drop3", "head_dropout"} <= in_suffix
    (features,) = cut.prefix(data(cut.model)[0], training=True)
    np.testing.assert_array_equal(cut.suffix(features, training=False), cut.suffix(features, training=False))
    assert np.ptp([float(cut.suffix(features, training=True)[0, 0]) for _ in range(4)]) > 0


def test_head_only_caches_the_pooled_features():
    model = residual()
    for layer in model.layers:
        layer.trainable = layer.name.startswith("head")
    cut = cut_model(model)
    assert [tensor.shape for tensor in cut.boundary] == [(8,)]
    assert cut.bytes_per_example == 32
    assert [call.operation.name for call in cut.suffix.calls] == ["head_dropout", "head_output"]


def test_the_boundary_is_several_tensors_where_that_takes_no_more_work():
    cut = cut_model(concatenated(), slack=0.0)
    assert len(cut.boundary) > 1 or cut.boundary[0].shape == (12, 12, 14)


def test_slack_trades_a_little_work_for_fewer_bytes():
    def build():
        inputs = keras.Input((16, 16, 1))
        x = layers.Conv2D(64, 5, padding="same", name="stem")(inputs)
        x = layers.Conv2D(2, 3, strides=2, padding="same", name="narrow")(x)
        x = layers.Conv2D(32, 1, name="wide")(x)
        x = layers.Conv2D(64, 3, padding="same", name="heavy")(x)
        model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))
        for name in ("stem", "narrow", "wide"):
            model.get_layer(name).trainable = False
        return model

    exact, cheap = cut_model(build(), slack=0.0), cut_model(build(), slack=0.02)
    assert [t.shape for t in exact.boundary] == [(8, 8, 32)]
    assert [t.shape for t in cheap.boundary] == [(8, 8, 2)]
    assert exact.suffix_fraction < cheap.suffix_fraction < 1.03 * exact.suffix_fraction + 0.01


def test_tensors_whose_rows_are_not_examples_never_cross():
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    windows = keras.ops.reshape(x, (-1, 16, 4))  # Four windows of an image become four rows.
    y = layers.Dense(4, name="inside")(windows)
    y = keras.ops.reshape(y, (-1, 8, 8, 4))
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(y)))
    model.get_layer("stem").trainable = False
    assert [t.shape for t in cut_model(model, slack=0.0).boundary] == [(8, 8, 4)]


def test_nothing_is_cached_where_everything_trains():
    model = residual()
    for layer in model.layers:
        layer.trainable = True
    cut = cut_model(model)
    assert cut.prefix is None
    assert cut.suffix is None
    assert cut.suffix_fraction == cut.limit == 1
    x, _ = data(model)
    np.testing.assert_array_equal(cut.whole(x), model(x))


def test_statistics_that_move_are_not_frozen():
    model = residual()
    for layer in model.layers:
        layer.trainable = layer.name.startswith("head") or layer.name == "bn1"
    model.get_layer("bn1").gamma.trainable = model.get_layer("bn1").beta.trainable = False
    names = {call.operation.name for call in cut_model(model).suffix.calls}
    assert {"bn1", "conv1", "conv3"} <= names
    assert "conv0" not in names


def test_augmentation_inside_a_model_stays_active():
    inputs = keras.Input((8, 8, 1))
    x = layers.RandomRotation(0.5, name="turn")(inputs)
    x = layers.Conv2D(4, 3, name="frozen")(x)
    model = keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))
    model.get_layer("frozen").trainable = False
    assert cut_model(model).prefix is None


def test_fingerprint_is_of_what_is_computed_and_not_of_names():
    first, second = residual(), residual()
    second.set_weights(first.get_weights())
    fingerprint = cut_model(first).fingerprint()
    assert cut_model(second).fingerprint() == fingerprint
    second.get_layer("head_output").bias.assign([3.0])
    assert cut_model(second).fingerprint() == fingerprint
    second.get_layer("conv0").bias.assign_add(np.full(8, 1e-6))
    assert cut_model(second).fingerprint() != fingerprint


def test_work_is_counted_as_multiply_adds():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
    model = keras.Model(inputs, layers.Dense(1, use_bias=False)(layers.Flatten()(x)))
    assert cut_model(model).multiply_adds == 64 * 9 * 3 * 16 + 1024


def test_only_functional_models_can_be_cut():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="functional"):
        cut_model(Subclassed())


def test_the_suffix_fits_from_a_dataset():
    model = residual()
    cut = cut_model(model)
    x, y = data(model, 8)
    features = tuple(t.numpy() for t in cut.prefix(x))
    cut.suffix.compile("sgd", "mae")
    history = cut.suffix.fit(tf.data.Dataset.from_tensor_slices((features, y)).batch(4), epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
