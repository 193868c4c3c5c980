"""Carrier tokens and positions in hierarchical attention: what FasterViT's windows know of where they are.

Hatamizadeh et al. 2023, "FasterViT: Fast Vision Transformers with Hierarchical Attention", arXiv:2306.06189, section
3.2; the attention bias is that of Swin Transformer V2 (arXiv:2111.09883, section 3.3). Both are small networks of
continuous coordinates, so that their weights fit any window.
"""

import keras
import numpy as np
from keras import ops

from age_keras.backbones.layers.window_attention import WindowAttention

HIDDEN = 512  # units of the networks of positions


def _grid(values: np.ndarray) -> np.ndarray:
    """All pairs (y, x) of an axis' values, row by row: (len(values) ** 2, 2)."""
    return np.stack(np.meshgrid(values, values, indexing="ij"), axis=-1).reshape(-1, 2)


class _PositionNetwork(keras.layers.Layer):
    """Coordinates (..., 2) through 512 rectified units to some outputs; mixed into a layer, which owns the weights.

    The weights have PyTorch's order of axes and, after `prefix`, its names.
    """

    def add_position_weights(self, units: int, prefix: str) -> None:
        normal = keras.initializers.TruncatedNormal(stddev=0.02)
        # A Dense layer's usual spread, in PyTorch's (outputs, inputs) order of two inputs.
        uniform = keras.initializers.RandomUniform(-(2**-0.5), 2**-0.5)
        self.hidden_weight = self.add_weight((HIDDEN, 2), initializer=uniform, name=f"{prefix}cpb_mlp.0.weight")
        self.hidden_bias = self.add_weight((HIDDEN,), initializer="zeros", name=f"{prefix}cpb_mlp.0.bias")
        self.output_weight = self.add_weight((units, HIDDEN), initializer=normal, name=f"{prefix}cpb_mlp.2.weight")

    def of_positions(self, coordinates: np.ndarray):
        """(points, 2) -> (points, units)."""
        x = ops.matmul(ops.convert_to_tensor(coordinates, self.compute_dtype), ops.transpose(self.hidden_weight))
        return ops.matmul(ops.relu(x + self.hidden_bias), ops.transpose(self.output_weight))


@keras.saving.register_keras_serializable("age_keras")
class CellPositionEmbedding(_PositionNetwork):
    """Adds to every token a learned function of its place in its window.

    Input and output: (N, windows, side ** 2, C).
    """

    def build(self, input_shape):
        self.add_position_weights(input_shape[-1], prefix="")
        side = round(input_shape[-2] ** 0.5)
        half = side // 2
        self.coordinates = _grid((np.arange(side) - half) / half)

    def call(self, x):
        return x + self.of_positions(self.coordinates)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("age_keras")
class CarrierAttention(_PositionNetwork, WindowAttention):
    """Window attention whose bias is a learned function of the log-spaced distance of two cells.

    The first tokens of a window may be its carrier tokens, which have no place in it: their rows and columns of the
    bias are zero.

    Input: (N, windows, carriers + window_size ** 2, 3 * C). Output: the same with C channels.

    Args:
        num_heads: C is divided among them.
        carriers: How many of the first tokens are carrier tokens. Defaults to 0.
    """

    def __init__(self, num_heads, carriers=0, **kwargs):
        super().__init__(num_heads, **kwargs)
        self.carriers = int(carriers)

    def build(self, input_shape):
        self.add_position_weights(self.num_heads, prefix="pos_emb_funct.")
        side = round((input_shape[-2] - self.carriers) ** 0.5)
        distances = np.arange(1 - side, side) / max(side - 1, 1) * 8
        self.coordinates = _grid(np.sign(distances) * np.log2(np.abs(distances) + 1) / np.log2(8))
        y, x = np.divmod(np.arange(side * side), side)
        rows, columns = y[:, None] - y + side - 1, x[:, None] - x + side - 1
        self.pairs = (rows * (2 * side - 1) + columns).astype("int32")

    def position_bias(self):
        bias = 16 * ops.sigmoid(self.of_positions(self.coordinates))
        bias = ops.take(ops.transpose(bias), self.pairs, axis=1)
        return ops.pad(bias, ((0, 0), (self.carriers, 0), (self.carriers, 0))) if self.carriers else bias

    def get_config(self):
        config = {**super().get_config(), "carriers": self.carriers}
        config.pop("interleaved")
        return config


@keras.saving.register_keras_serializable("age_keras")
class CarrierSpread(keras.layers.Layer):
    """Gives each cell of a window the carrier token nearest to it: (N, windows, carriers, C) -> (N, windows, cells, C).

    Args:
        window_size: The side of a window, in cells.
    """

    def __init__(self, window_size, **kwargs):
        super().__init__(**kwargs)
        self.window_size = int(window_size)

    def build(self, input_shape):
        side = round(input_shape[2] ** 0.5)
        nearest = np.arange(self.window_size) * side // self.window_size
        self.nearest = (nearest[:, None] * side + nearest).reshape(-1).astype("int32")

    def call(self, x):
        return ops.take(x, self.nearest, axis=2)

    def compute_output_shape(self, input_shape):
        n, windows, _, channels = input_shape
        return (n, windows, self.window_size**2, channels)

    def get_config(self):
        return {**super().get_config(), "window_size": self.window_size}
