"""Global response normalisation (Woo et al. 2023, ConvNeXt V2, arXiv:2301.00808, algorithm 1)."""

import keras
from keras import ops

EPSILON = 1e-6


@keras.saving.register_keras_serializable("age_keras")
class GlobalResponseNorm(keras.layers.Layer):
    """Channels of a map (N, H, W, C) compete by their energy over the whole map (algorithm 1 of the paper)."""

    def build(self, input_shape):
        width = (input_shape[-1],)
        self.weight = self.add_weight(width, initializer="zeros", name="weight")
        self.bias = self.add_weight(width, initializer="zeros", name="bias")

    def call(self, x):
        # In float32: a sum of squares over a map overflows half floats.
        energy = ops.sqrt(ops.sum(ops.square(ops.cast(x, "float32")), axis=(1, 2), keepdims=True))
        factor = energy / (ops.mean(energy, axis=-1, keepdims=True) + EPSILON)
        # weight * (x * factor) + bias + x, with one multiplication of the whole map.
        return x * ops.cast(1 + self.weight * factor, x.dtype) + ops.cast(self.bias, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape
