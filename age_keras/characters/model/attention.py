"""Scaled dot-product attention as a Keras layer that gives back its weights."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("age_keras")
class DotProductAttention(keras.layers.Layer):
    """softmax(Q Kᵀ / √d) V over several heads (Vaswani et al. 2017, equation 1 and section 3.2.2).

    Queries, keys and values are linear maps of the inputs. With one sequence as input it is self-attention; with a
    query of its own, the query looks over the values: one query step gives a weighted mean of the values, and its
    weights say where the model looked.

    Args:
        num_heads: Number of heads; 1 is single-head attention. Defaults to 1.
        key_dim: Width of a head's queries, keys and values. Defaults to 64.
        output_dim: Width of the output, by a linear map of the concatenated heads; `None` gives the heads as they
            are, `num_heads * key_dim` wide. Defaults to `None`.
        dropout: Fraction of the attention weights dropped in training. Defaults to 0.

    Call arguments:
        query: `(N, Tq, D)`.
        value: `(N, Tv, Dv)`, also the keys. Defaults to `query` (self-attention).
        return_weights: also give the weights.
        mask: `bool (N, Tq)` of the sequence in self-attention, or a list of two, the query's and the value's, either
            `None`. What is `False` in the value gets no weight; the query's goes on with the output. Keras passes it,
            or `value_mask`, where the inputs carry one.
        value_mask: `bool (N, Tv)`: the value's alone.

    Returns:
        `(N, Tq, output width)`, and with `return_weights` also the weights `(N, num_heads, Tq, Tv)`, which sum to 1
        over the last axis (to 0 where the whole value is masked).

    Example:
        >>> states = keras.random.normal((2, 7, 8))
        >>> layer = DotProductAttention(num_heads=2, key_dim=16)
        >>> context, weights = layer(states[:, -1:], states, return_weights=True)
        >>> context.shape, weights.shape
        (TensorShape([2, 1, 32]), TensorShape([2, 2, 1, 7]))
    """

    def __init__(self, num_heads=1, key_dim=64, output_dim=None, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        if num_heads < 1 or key_dim < 1:
            raise ValueError(f"num_heads and key_dim must be at least 1. Received: {num_heads=}, {key_dim=}")
        self.num_heads = num_heads
        self.key_dim = key_dim
        self.output_dim = output_dim
        self.dropout = dropout
        width = num_heads * key_dim
        self.query_map = keras.layers.Dense(width, name="query")
        self.key_map = keras.layers.Dense(width, use_bias=False, name="key")  # A key's bias falls out of the softmax.
        self.value_map = keras.layers.Dense(width, name="value")
        self.output_map = keras.layers.Dense(output_dim, name="output") if output_dim else None
        self.weight_dropout = keras.layers.Dropout(dropout) if dropout else None

    def build(self, query_shape, value_shape=None):
        value_shape = value_shape or query_shape
        self.query_map.build(query_shape)
        self.key_map.build(value_shape)
        self.value_map.build(value_shape)
        if self.output_map:
            self.output_map.build((*query_shape[:-1], self.num_heads * self.key_dim))
        self.built = True

    def call(self, query, value=None, return_weights=False, mask=None, value_mask=None, training=None):
        value_mask = _of_the_value(mask, value_mask, own=value is not None)
        value = query if value is None else value
        queries, keys, values = self.query_map(query), self.key_map(value), self.value_map(value)
        queries, keys, values = (self._heads(x) for x in (queries, keys, values))
        scores = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2))) * self.key_dim**-0.5
        weights = self._softmax(scores, value_mask)
        used = self.weight_dropout(weights, training=training) if self.weight_dropout else weights
        context = ops.transpose(ops.matmul(used, values), (0, 2, 1, 3))
        context = ops.reshape(context, (-1, query.shape[1], self.num_heads * self.key_dim))
        if self.output_map:
            context = self.output_map(context)
        return (context, weights) if return_weights else context

    def compute_mask(self, query, previous_mask):
        return previous_mask[0] if isinstance(previous_mask, list | tuple) else previous_mask

    def _softmax(self, scores, mask):
        if mask is None:
            return ops.softmax(scores, axis=-1)
        mask = ops.cast(mask, "bool")[:, None, None, :]
        lowest = -6e4 if scores.dtype == "float16" else -1e9  # float16 ends at 65504.
        weights = ops.softmax(ops.where(mask, scores, ops.cast(lowest, scores.dtype)), axis=-1)
        return weights * ops.cast(mask, scores.dtype)

    def _heads(self, x):
        x = ops.reshape(x, (-1, x.shape[1], self.num_heads, self.key_dim))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_output_spec(self, query, value=None, return_weights=False, mask=None, value_mask=None, training=None):
        value = query if value is None else value
        width = self.output_dim or self.num_heads * self.key_dim
        context = keras.KerasTensor((*query.shape[:2], width), dtype=self.compute_dtype)
        if not return_weights:
            return context
        shape = (query.shape[0], self.num_heads, query.shape[1], value.shape[1])
        return context, keras.KerasTensor(shape, dtype=self.compute_dtype)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "key_dim": self.key_dim,
            "output_dim": self.output_dim,
            "dropout": self.dropout,
        }


def _of_the_value(mask, value_mask, own):
    """The mask of the value's steps; `own`: the value is not the query."""
    if value_mask is not None or mask is None:
        return value_mask
    if isinstance(mask, list | tuple):
        return mask[1]
    if own:
        raise ValueError(
            f"with a value, mask must be a list of two, the query's and the value's. Received: mask={mask}"
        )
    return mask


@keras.saving.register_keras_serializable("age_keras")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector per step of a sequence `(N, T, D)` of fixed length, so that attention knows the order."""

    def build(self, input_shape):
        self.embedding = self.add_weight(
            name="embedding", shape=input_shape[1:], initializer=keras.initializers.RandomNormal(stddev=0.02)
        )
        self.built = True

    def call(self, inputs):
        return inputs + self.embedding

    def compute_output_shape(self, input_shape):
        return input_shape
