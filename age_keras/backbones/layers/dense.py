"""The Dense layer of transformers."""

import keras


def dense(x, units: int, name: str, activation=None, use_bias: bool = True):
    """A Dense layer whose kernel starts from a truncated normal of 0.02, as the published networks' do."""
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    return keras.layers.Dense(units, activation, use_bias, kernel_initializer=initializer, name=name)(x)
