"""The work of each call, as the papers count it."""

import keras
import numpy as np

from age_keras.prefix.flops import count_multiply_adds
from age_keras.prefix.graph import read_graph

layers = keras.layers


class Biased(layers.Layer):
    """Adds what a small network makes of weights alone, as attention's bias by relative position."""

    def build(self, shape):
        self.table = self.add_weight(shape=(7, 5))
        self.kernel = self.add_weight(shape=(5, 4))

    def call(self, x):
        return x + keras.ops.sum(keras.ops.matmul(self.table, self.kernel), axis=0)


def work_of(model):
    work, by_example = count_multiply_adds(read_graph(model))
    return {call.operation.name: count for call, count in work.items()}, by_example


def test_convolutions_and_matrix_products_count_and_nothing_else():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="full")(inputs)
    x = layers.DepthwiseConv2D(5, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.Reshape((16, 32), name="tokens")(x)
    x = layers.MultiHeadAttention(2, 8, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D(name="mean")(x)
    work, _ = work_of(keras.Model(inputs, layers.Dense(4, name="dense")(x)))
    attention = 16 * 4 * 32 * 16 + 2 * 16 * 16 * 16  # three projections in and one out, and two products of tokens
    assert work == {
        "full": 16 * 9 * 3 * 16,
        "depthwise": 16 * 25 * 32,
        "norm": 0,
        "tokens": 0,
        "attention": attention,
        "mean": 0,
        "dense": 32 * 4,
    }


def test_what_is_made_of_weights_alone_is_made_once_for_all_examples():
    inputs = keras.Input((6, 4))
    work, _ = work_of(keras.Model(inputs, Biased(name="biased")(layers.Dense(4, name="dense")(inputs))))
    assert work == {"dense": 6 * 4 * 4, "biased": 7 * 5 * 4}


def test_windows_folded_into_the_rows_are_no_examples():
    inputs = keras.Input((8, 8, 1))
    windows = keras.ops.reshape(inputs, (-1, 16, 1))
    model = keras.Model(inputs, keras.ops.reshape(windows, (-1, 64)))
    _, by_example = work_of(model)
    assert by_example == {0, 2}
    assert np.shape(model(np.zeros((2, 8, 8, 1)))) == (2, 64)
