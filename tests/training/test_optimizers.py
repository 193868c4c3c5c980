"""Optimizers: deeper blocks make smaller steps, long gradients are cut to their length, decay acts where it should."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from age_keras.config.age import PhaseConfig
from age_keras.training.optimizers import build_optimizer, layer_rates

RATE = 0.1


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    x = keras.layers.Dense(4, name="stem")(inputs)
    for name in ("block1", "block1_end", "block2_end"):
        x = keras.layers.Dense(4, name=name)(x)
    return keras.Model(inputs, keras.layers.Dense(1, name="head_output")(x))


def steps(model, optimizer):
    """How far one step moves each layer's kernel."""
    x = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
    before = {layer.name: layer.kernel.numpy() for layer in model.layers[1:]}
    model.compile(optimizer, "mse")
    model.fit(x, x[:, :1], batch_size=8, verbose=0)
    return {layer.name: layer.kernel.numpy() - before[layer.name] for layer in model.layers[1:]}


def phase(**settings):
    return PhaseConfig(epochs=1, learning_rate=RATE, **{"optimizer": "sgd"} | settings)


def decayed(optimizer):
    model = network()
    rates = layer_rates(model.layers[1:-1], ("block1_end", "block2_end"), 0.5)
    return steps(model, build_optimizer(phase(optimizer=optimizer), rates, track=False))


@pytest.mark.parametrize("strategy", [False, True], ids=["plain", "mirrored"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_layer_decay_halves_the_step_with_each_block_from_the_head(optimizer, strategy):
    scope = tf.distribute.MirroredStrategy(["CPU:0"]) if strategy else tf.distribute.get_strategy()
    with scope.scope():
        moved = decayed(optimizer)
    plain = steps(network(), build_optimizer(phase(optimizer=optimizer)))
    expected = {"head_output": 1.0, "block2_end": 0.5, "block1_end": 0.25, "block1": 0.25, "stem": 0.25}
    for name, factor in expected.items():
        np.testing.assert_allclose(moved[name], factor * plain[name], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("clip_norm", [0.05, 1e6])
def test_a_gradient_is_no_longer_than_clip_norm_and_its_own_length_is_told(clip_norm):
    model, plain = network(), network()
    clipped, free = build_optimizer(phase(clip_norm=clip_norm)), build_optimizer(phase())
    moved, wanted = steps(model, clipped), steps(plain, free)
    length = float(free.gradient_norm)
    assert length > 0.1
    assert float(clipped.gradient_norm) == pytest.approx(length)
    for name in wanted:
        np.testing.assert_allclose(moved[name], wanted[name] * min(1, clip_norm / length), rtol=1e-3, atol=1e-7)


def test_weight_decay_shrinks_what_has_no_gradient():
    model = network()
    optimizer = build_optimizer(phase(optimizer="adamw", weight_decay=0.5))
    kernel = model.get_layer("stem").kernel
    before = kernel.numpy()
    optimizer.apply([keras.ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    np.testing.assert_allclose(kernel.numpy(), before * (1 - RATE * 0.5), rtol=1e-5)
