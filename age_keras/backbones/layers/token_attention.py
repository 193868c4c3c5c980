"""What a plain vision transformer adds to Keras' layers: a class token, positions, attention among all tokens."""

import keras
import numpy as np
from keras import ops

from age_keras.backbones.layers.window_attention import WindowAttention

CLASS_OFFSETS = 3  # of the table: class to place, place to class, class to itself


@keras.saving.register_keras_serializable("age_keras")
class ClassToken(keras.layers.Layer):
    """Puts a learned token before the others: (N, T, C) -> (N, 1 + T, C)."""

    def build(self, input_shape):
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.token = self.add_weight((1, 1, input_shape[-1]), initializer=small, name="cls_token")

    def call(self, x):
        token = ops.broadcast_to(ops.cast(self.token, x.dtype), (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1)

    def compute_output_shape(self, input_shape):
        n, tokens, width = input_shape
        return (n, tokens + 1, width)


@keras.saving.register_keras_serializable("age_keras")
class TokenPositionEmbedding(keras.layers.Layer):
    """Adds a learned vector to each token of (N, T, C)."""

    def build(self, input_shape):
        small = keras.initializers.TruncatedNormal(stddev=0.02)
        self.embedding = self.add_weight((1, *input_shape[1:]), initializer=small, name="pos_embed")

    def call(self, x):
        return x + ops.cast(self.embedding, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("age_keras")
class TokenAttention(WindowAttention):
    """Multi-head self-attention among all tokens, with a learned bias per head and relative position of two places.

    Input: (N, 1 + grid ** 2, 3 * C), the class token first. Output: (N, 1 + grid ** 2, C).

    Args:
        num_heads: C is divided among them.
        grid: Places on a side of the image; 0 for no relative position bias.
    """

    def __init__(self, num_heads, grid, **kwargs):
        kwargs.pop("interleaved", None)
        super().__init__(num_heads, **kwargs)
        self.grid = int(grid)

    def build(self, input_shape):
        width = input_shape[-1] // 3
        self.q_bias = self.add_weight((width,), initializer="zeros", name="q_bias")
        self.v_bias = self.add_weight((width,), initializer="zeros", name="v_bias")
        if self.grid:
            length = (2 * self.grid - 1) ** 2 + CLASS_OFFSETS
            self.table = self.add_weight(
                (length, self.num_heads), initializer="zeros", name="relative_position_bias_table"
            )
            self.offsets = _relative_positions(self.grid)

    @property
    def attends_to_all(self):
        """Whether every token attends to every other, so that `attention_weights` is a matrix over the image."""
        return True

    def position_bias(self):
        if not self.grid:
            return 0.0
        return ops.take(ops.transpose(self.table), self.offsets, axis=1)

    def call(self, qkv):
        # Keys have no bias: it would add the same to all scores of a query.
        bias = ops.concatenate([self.q_bias, ops.zeros_like(self.q_bias), self.v_bias])
        return super().call((qkv + ops.cast(bias, qkv.dtype))[:, None])[:, 0]

    def attention_weights(self, x):
        """The weights of the attention for its input (N, T, 3 * C): float32 (N, heads, T, T), rows sum to 1."""
        tokens, width = x.shape[1], x.shape[2] // 3
        bias = ops.concatenate([self.q_bias, ops.zeros_like(self.q_bias), self.v_bias])
        qkv = ops.reshape(ops.cast(x, "float32") + bias, (-1, tokens, 3, self.num_heads, width // self.num_heads))
        query, key = (ops.transpose(qkv[:, :, i], (0, 2, 1, 3)) for i in range(2))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * (width // self.num_heads) ** -0.5
        return ops.softmax(scores + ops.cast(self.position_bias(), "float32"))

    def get_config(self):
        config = super().get_config()
        config.pop("interleaved")
        return {**config, "grid": self.grid}


def _relative_positions(grid: int) -> np.ndarray:
    """Which row of the table each pair of tokens has, (1 + grid * grid, 1 + grid * grid)."""
    y, x = np.divmod(np.arange(grid * grid), grid)
    rows, columns = (c[:, None] - c + grid - 1 for c in (y, x))
    last = (2 * grid - 1) ** 2
    index = np.zeros((1 + grid * grid,) * 2, "int32")
    index[1:, 1:] = rows * (2 * grid - 1) + columns
    index[0, :], index[:, 0], index[0, 0] = last, last + 1, last + 2
    return index
