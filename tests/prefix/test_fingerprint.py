"""The fingerprint of a prefix: two that compute different things never have the same."""

import keras
import numpy as np

from age_keras.prefix import cut_model

layers = keras.layers


def fingerprint(build):
    keras.utils.set_random_seed(0)
    model = build()
    for layer in model.layers:
        layer.trainable = layer.name == "last"
    for number, weight in enumerate(model.weights):
        weight.assign(np.random.default_rng(number).normal(0, 0.1, weight.shape))
    return cut_model(model).fingerprint()


def test_fingerprint_knows_the_precision_of_a_layer():
    def build(policy):
        inputs = keras.Input((8, 8, 1))
        x = layers.Conv2D(4, 3, dtype=policy)(inputs)
        return keras.Model(inputs, layers.Dense(1, name="last")(layers.GlobalAveragePooling2D(dtype="float32")(x)))

    assert fingerprint(lambda: build("float32")) == fingerprint(lambda: build("float32"))
    assert fingerprint(lambda: build("float32")) != fingerprint(lambda: build("mixed_bfloat16"))


def test_fingerprint_knows_which_calls_share_a_layer():
    def build(order):
        inputs = keras.Input((8,))
        shared, x = [layers.Dense(8, name=f"d{i}") for i in range(2)], inputs
        for i in order:
            x = shared[i](x)
        return keras.Model(inputs, layers.Dense(1, name="last")(x))

    assert fingerprint(lambda: build([0, 0, 1])) != fingerprint(lambda: build([0, 1, 0]))
    assert fingerprint(lambda: build([0, 1, 1])) != fingerprint(lambda: build([0, 1, 0]))


def test_fingerprint_of_a_layer_with_layers_inside_is_not_of_their_names():
    def build(units=4):
        inputs = keras.Input((6, 3))
        x = layers.Bidirectional(layers.GRU(units))(inputs)
        return keras.Model(inputs, layers.Dense(1, name="last")(x))

    assert fingerprint(build) == fingerprint(build)
    assert fingerprint(build) != fingerprint(lambda: build(5))
