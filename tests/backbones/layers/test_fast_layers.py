"""Our activation and normalisation are Keras' own, in values and gradients, in single and half precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from age_keras.backbones.layers.batch_norm import BatchNorm
from age_keras.backbones.layers.gelu import gelu
from age_keras.backbones.layers.layer_norm import LayerNorm


def values(shape=(3, 5, 8), scale=3.0):
    return tf.constant(np.random.default_rng(0).normal(0.5, scale, shape).astype("float32"))


def gradients(function, x, weights=()):
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(function(x) * values(x.shape))
    return tape.gradient(loss, [x, *(weight.value for weight in weights)])


def test_gelu():
    x = tf.linspace(-20.0, 20.0, 4001)
    np.testing.assert_allclose(gelu(x), keras.activations.gelu(x), atol=1e-6)
    for one, other in zip(gradients(gelu, x), gradients(keras.activations.gelu, x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    half = tf.cast(x, "float16")
    np.testing.assert_array_equal(gelu(half), keras.activations.gelu(half))


@pytest.mark.parametrize("compiled", [False, True])
def test_layer_norm(compiled):
    x = values()
    ours, theirs = LayerNorm(epsilon=1e-5), keras.layers.LayerNormalization(epsilon=1e-5)
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.set_weights([np.linspace(-1, 2, 8), np.linspace(3, 4, 8)])
    call = tf.function(ours, jit_compile=True) if compiled else ours
    np.testing.assert_allclose(call(x), theirs(x), atol=2e-6)
    pairs = zip(gradients(call, x, ours.trainable_weights), gradients(theirs, x, theirs.trainable_weights), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_layer_norm_in_half_precision_computes_in_single():
    x = tf.cast(values(scale=300.0), "float16")  # its squares are no half floats
    layer = LayerNorm(epsilon=1e-5, dtype="mixed_float16")
    assert layer(x).dtype == "float16"
    assert np.isfinite(layer(x)).all()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("trainable", [False, True])
def test_batch_norm(compiled, trainable):
    x = values((4, 3, 5, 8))
    pair = []
    for kind in (BatchNorm, keras.layers.BatchNormalization):
        layer = kind(momentum=0.9, epsilon=1e-5)
        layer.build(x.shape)
        layer.set_weights([np.linspace(-1, 2, 8), np.linspace(3, 4, 8), np.zeros(8), np.ones(8)])
        layer.trainable = trainable
        variables = [layer.gamma, layer.beta]

        def train(x, layer=layer):
            return layer(x, training=True)

        call = tf.function(train, jit_compile=True) if compiled else train
        pair.append([call(x), layer(x), *gradients(call, x, variables), *layer.get_weights()])
    for one, other in zip(*pair, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    assert (np.asarray(layer.moving_mean) != 0).all() == trainable


def test_batch_norm_without_scale_in_half_precision():
    x = tf.cast(values((4, 3, 5, 8), scale=300.0), "float16")
    layer = BatchNorm(scale=False, dtype="mixed_float16")
    assert layer(x, training=True).dtype == "float16"
    theirs = keras.layers.BatchNormalization(scale=False, dtype="mixed_float16")
    np.testing.assert_allclose(layer(x, training=True), theirs(x, training=True), atol=2e-3)


def test_saved_under_their_names(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, LayerNorm(epsilon=1e-6)(keras.layers.Dense(4, gelu)(inputs)))
    model.save(tmp_path / "model.keras")
    x = values((2, 4))
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))
