"""Attention inside square windows of a feature map: cut the map into windows, attend in each, and put it together.

The sample stays the first axis throughout, (N, windows, tokens, C), so that any tensor on the way can be cached or cut
sample by sample. No tensor moves through a transpose of more than four axes: exporters and small devices ask for that.
"""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("age_keras")
class WindowPartition(keras.layers.Layer):
    """Cuts a map into windows, row by row: (N, H, W, C) -> (N, windows, window_size ** 2, C).

    Where a side is not a multiple of the window, zeros are added at the bottom and right.

    Args:
        window_size: The side of a window, in cells of the map.
    """

    def __init__(self, window_size, **kwargs):
        super().__init__(**kwargs)
        self.window_size = int(window_size)

    def call(self, x):
        _, height, width, channels = x.shape
        size = self.window_size
        if height % size or width % size:
            x = ops.pad(x, ((0, 0), (0, -height % size), (0, -width % size), (0, 0)))
        rows, columns = -(-height // size), -(-width // size)
        if columns > 1:
            x = ops.reshape(x, (-1, size, columns, size * channels))
            x = ops.transpose(x, (0, 2, 1, 3))
        return ops.reshape(x, (-1, rows * columns, size * size, channels))

    def compute_output_shape(self, input_shape):
        n, height, width, channels = input_shape
        size = self.window_size
        return (n, -(-height // size) * -(-width // size), size * size, channels)

    def get_config(self):
        return {**super().get_config(), "window_size": self.window_size}


@keras.saving.register_keras_serializable("age_keras")
class WindowReverse(keras.layers.Layer):
    """Puts windows back into a map, without what was padded: (N, windows, tokens, C) -> (N, height, width, C).

    Args:
        height, width: Sides of the map that `WindowPartition` was given.
    """

    def __init__(self, height, width, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width = int(height), int(width)

    def call(self, x):
        _, _, tokens, channels = x.shape
        size = round(tokens**0.5)
        rows, columns = -(-self.height // size), -(-self.width // size)
        if columns > 1:
            x = ops.reshape(x, (-1, columns, size, size * channels))
            x = ops.transpose(x, (0, 2, 1, 3))
        x = ops.reshape(x, (-1, rows * size, columns * size, channels))
        padded = rows * size > self.height or columns * size > self.width
        return x[:, : self.height, : self.width] if padded else x

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.height, self.width, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "height": self.height, "width": self.width}


class WindowAttention(keras.layers.Layer):
    """Multi-head self-attention in each window: softmax(Q K' / sqrt(d) + position_bias) V.

    Queries, keys and values come fused from one Dense layer, and another projects the result, so that this layer only
    owns what describes positions. A family subclasses it and overrides `position_bias`.

    Input: (N, windows, tokens, 3 * C). Output: (N, windows, tokens, C).

    Args:
        num_heads: C is divided among them.
        interleaved: Whether the 3 * C channels are (head, q|k|v, d) rather than (q|k|v, head, d). Defaults to False.
    """

    def __init__(self, num_heads, interleaved=False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = int(num_heads)
        self.interleaved = bool(interleaved)

    def position_bias(self):
        """What is added to the scores of every window: (num_heads, tokens, tokens), in the variables' dtype."""
        raise TypeError(f"{type(self).__name__} must override position_bias. Received: self={self!r}")

    def call(self, qkv):
        _, windows, tokens, width = qkv.shape
        heads, size = self.num_heads, width // 3 // self.num_heads
        qkv = ops.transpose(ops.reshape(qkv, (-1, tokens, 3 * heads, size)), (0, 2, 1, 3))
        # Split and not slices: the gradient is one concatenation, not three sums of padded tensors.
        if self.interleaved:
            qkv = ops.split(ops.reshape(qkv, (-1, heads, 3, tokens * size)), 3, axis=2)
            query, key, value = (ops.reshape(x, (-1, heads, tokens, size)) for x in qkv)
        else:
            query, key, value = ops.split(qkv, 3, axis=1)
        scores = ops.matmul(query * size**-0.5, ops.transpose(key, (0, 1, 3, 2)))
        # The softmax in float32 whatever the policy: half floats lose small probabilities among many tokens.
        scores = ops.cast(scores, "float32") + ops.cast(self.position_bias(), "float32")
        probabilities = ops.cast(ops.softmax(scores), self.compute_dtype)
        x = ops.transpose(ops.matmul(probabilities, value), (0, 2, 1, 3))
        return ops.reshape(x, (-1, windows, tokens, width // 3))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 3)

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "interleaved": self.interleaved}


@keras.saving.register_keras_serializable("age_keras")
class PlainAttention(WindowAttention):
    """Multi-head self-attention with no bias for positions: the convolutions around it know them."""

    def position_bias(self):
        return 0.0


@keras.saving.register_keras_serializable("age_keras")
class OffsetBiasAttention(WindowAttention):
    """Window attention with one learned bias per head and distance (|dy|, |dx|) of two cells (LeViT, arXiv:2104.01136).

    Input: (N, windows, window_size ** 2, 3 * C). Output: (N, windows, window_size ** 2, C).

    Args:
        num_heads: C is divided among them.
        window_size: The side of a window, in cells.
    """

    def __init__(self, num_heads, window_size, interleaved=True, **kwargs):
        super().__init__(num_heads, interleaved, **kwargs)
        self.window_size = int(window_size)

    def build(self, input_shape):
        size = self.window_size
        self.attention_biases = self.add_weight(
            (self.num_heads, size * size), initializer="zeros", name="attention_biases"
        )
        y, x = np.divmod(np.arange(size * size), size)
        self.offsets = (np.abs(y[:, None] - y) * size + np.abs(x[:, None] - x)).astype("int32")

    def position_bias(self):
        return ops.take(self.attention_biases, self.offsets, axis=1)

    def get_config(self):
        return {**super().get_config(), "window_size": self.window_size}
