"""SwinV2's attention: cosine similarity in windows, shifted or not, with positions from a small network."""

import math

import keras
import numpy as np
from keras import ops

from age_keras.backbones.layers.window_attention import WindowAttention

POSITION_UNITS = 512  # of the network that makes the position bias
MAX_LOGIT_SCALE = math.log(100)
MASKED = -100.0  # added to the score of two cells that are neighbours only through the shift


@keras.saving.register_keras_serializable("age_keras")
class CosineWindowAttention(WindowAttention):
    """Scaled cosine attention with a continuous relative position bias (equations 2 to 4 of the paper).

    Input: (N, windows, window_size ** 2, 3 * C). Output: (N, windows, window_size ** 2, C).

    Args:
        num_heads: C is divided among them.
        window_size: The side of a window, in cells.
        map_size: The side of the padded map in cells, a multiple of `window_size`.
        shift: By how many cells the map was shifted before it was cut. Defaults to 0.
    """

    def __init__(self, num_heads, window_size, map_size, shift=0, **kwargs):
        kwargs.pop("interleaved", None)
        super().__init__(num_heads, **kwargs)
        if map_size % window_size:
            raise ValueError(
                f"map_size must be a multiple of window_size. Received: map_size={map_size}, window_size={window_size}"
            )
        self.window_size, self.map_size, self.shift = int(window_size), int(map_size), int(shift)

    def build(self, input_shape):
        width, heads = input_shape[-1] // 3, self.num_heads
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.logit_scale = self.add_weight(
            (heads, 1, 1), initializer=keras.initializers.Constant(math.log(10)), name="logit_scale"
        )
        self.q_bias = self.add_weight((width,), initializer="zeros", name="q_bias")
        self.v_bias = self.add_weight((width,), initializer="zeros", name="v_bias")
        # Two small Dense layers, (out, in) as published.
        self.hidden = self.add_weight((POSITION_UNITS, 2), initializer=small, name="cpb_mlp.0.weight")
        self.hidden_bias = self.add_weight((POSITION_UNITS,), initializer="zeros", name="cpb_mlp.0.bias")
        self.output_weight = self.add_weight((heads, POSITION_UNITS), initializer=small, name="cpb_mlp.2.weight")
        self.coordinates, self.offsets = _relative_positions(self.window_size)
        self.mask = _shift_mask(self.map_size, self.window_size, self.shift) if self.shift else None

    def position_bias(self):
        dtype = self.compute_dtype
        coordinates = ops.cast(self.coordinates, dtype)
        hidden = ops.matmul(coordinates, ops.transpose(ops.cast(self.hidden, dtype)))
        hidden = ops.relu(hidden + ops.cast(self.hidden_bias, dtype))
        table = ops.matmul(ops.cast(self.output_weight, dtype), ops.transpose(hidden))
        return 16 * ops.sigmoid(ops.take(table, self.offsets, axis=1))

    def call(self, qkv):
        _, windows, tokens, width = qkv.shape
        heads, size = self.num_heads, width // 3 // self.num_heads
        # Keys have no bias: a parameter of the published network neither.
        bias = ops.concatenate([self.q_bias, ops.zeros_like(self.q_bias), self.v_bias])
        qkv = qkv + ops.cast(bias, qkv.dtype)
        qkv = ops.transpose(ops.reshape(qkv, (-1, tokens, 3 * heads, size)), (0, 2, 1, 3))
        query, key, value = ops.split(qkv, 3, axis=1)
        scale = ops.exp(ops.minimum(ops.cast(self.logit_scale, "float32"), MAX_LOGIT_SCALE))
        query, key = _unit(query, scale), _unit(key)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        scores = ops.cast(scores, "float32") + ops.cast(self.position_bias(), "float32")
        if self.mask is not None:
            scores = ops.reshape(scores, (-1, windows, heads, tokens * tokens))
            scores = ops.reshape(scores + self.mask, (-1, heads, tokens, tokens))
        probabilities = ops.cast(ops.softmax(scores), self.compute_dtype)
        x = ops.transpose(ops.matmul(probabilities, value), (0, 2, 1, 3))
        return ops.reshape(x, (-1, windows, tokens, width // 3))

    def get_config(self):
        config = super().get_config()
        config.pop("interleaved")
        own = {"window_size": self.window_size, "map_size": self.map_size, "shift": self.shift}
        return {**config, **own}


def _unit(x, scale=1.0):
    """Vectors of length `scale`, by way of float32: a padded cell's key is zero, and 1e12 is no half float."""
    whole = ops.cast(x, "float32")
    squares = ops.sum(ops.square(whole), axis=-1, keepdims=True)
    return ops.cast(whole * (scale * ops.rsqrt(ops.maximum(squares, 1e-24))), x.dtype)


def _relative_positions(window: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-spaced offsets of two cells, ((2w-1)^2, 2), and which of them each pair of cells has, (w*w, w*w)."""
    offsets = np.arange(-(window - 1), window, dtype=np.float32) * np.float32(8 / max(window - 1, 1))
    offsets = np.sign(offsets) * np.log2(np.abs(offsets) + 1) / np.float32(np.log2(8))
    coordinates = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2)
    y, x = np.divmod(np.arange(window * window), window)
    rows, columns = (c[:, None] - c + window - 1 for c in (y, x))
    return coordinates.astype("float32"), (rows * (2 * window - 1) + columns).astype("int32")


def _shift_mask(size: int, window: int, shift: int) -> np.ndarray:
    """(windows, 1, w*w * w*w): `MASKED` where the shift has put cells of different sides of the map in one window."""
    band = np.zeros(size, int)
    band[-window:-shift], band[-shift:] = 1, 2
    regions = band[:, None] * 3 + band
    count = size // window
    regions = regions.reshape(count, window, count, window).swapaxes(1, 2).reshape(count * count, -1)
    apart = regions[:, :, None] != regions[:, None, :]
    return np.where(apart, np.float32(MASKED), np.float32(0)).reshape(count * count, 1, -1)
