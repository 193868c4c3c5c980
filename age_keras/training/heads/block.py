"""Linear heads that one matrix product trains: their settings, their stacked variables, one step of Adam."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

HUBER_DELTA = 5.0
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # Adam (Kingma and Ba 2015), as Keras has it by default.


@dataclass(frozen=True, eq=False)
class HeadSettings:
    """One linear head.

    Attributes:
        train: (P,), the rows that it learns from: a mask, or weights.
        validate: bool (P,), the rows that choose its epoch.
        loss: `mae`, `mse`, or `huber` (quadratic within five years).
        learning_rate: of Adam, at the start.
        dropout: rate on the features. Defaults to 0.5.
        seed: of the dropout.
        bias: what the untrained head answers, in years; its kernel starts at zero.
        patience: epochs without a better validation MAE until it stops; None to train on.
        reduce_patience: epochs without a better validation MAE until the learning rate falls; None to keep it.
        reduce_factor: by which it falls.
        block: heads that follow each other with the same number make up a block. A block's results are to the last bit
            those that it has alone; between the heads of a block there is rounding.
    """

    train: np.ndarray
    validate: np.ndarray
    loss: Literal["mae", "mse", "huber"] = "mae"
    learning_rate: float = 1e-3
    dropout: float = 0.5
    seed: int = 0
    bias: float = 0.0
    patience: int | None = 10
    reduce_patience: int | None = 5
    reduce_factor: float = 0.1
    block: int = 0


def mask_of(head: HeadSettings) -> tuple:
    """Heads with the same dropout and seed share their masks."""
    return (head.dropout, head.seed) if head.dropout else (0.0, None)


class HeadBlock:
    """Heads that one matrix product trains. What becomes of them does not depend, to the last bit, on other blocks."""

    def __init__(self, heads: Sequence[HeadSettings], first: int, size: int):
        count = len(heads)
        self.slice = slice(first, first + count)
        self.kernel = tf.Variable(tf.zeros((count, size)))
        self.bias = tf.Variable([float(head.bias) for head in heads])
        self.rate = tf.Variable([float(head.learning_rate) for head in heads])
        self.moving = tf.Variable(tf.ones(count))
        self.steps = tf.Variable(tf.zeros(count))
        self.moments = [tf.Variable(tf.zeros((count, size + 1))) for _ in range(2)]
        self.losses = np.array([head.loss for head in heads])
        groups: dict[tuple, list[int]] = {}
        for k, head in enumerate(heads):
            groups.setdefault(mask_of(head), []).append(k)
        self.groups = list(groups.items())
        self._back = np.argsort(np.concatenate(list(groups.values())))

    def predict(self, features):
        return tf.matmul(features, self.kernel, transpose_b=True) + self.bias

    def step(self, masked: dict[tuple, tf.Tensor], y, weights):
        """One step on a batch; `masked` holds its features under each mask. Returns sums as `_State.train` does."""
        weights = weights[:, self.slice]
        columns = [
            tf.matmul(masked[mask], tf.gather(self.kernel, members), transpose_b=True) for mask, members in self.groups
        ]
        error = tf.gather(tf.concat(columns, axis=1), self._back, axis=1) + self.bias - y[:, None]
        size, within = tf.abs(error), tf.clip_by_value(error, -HUBER_DELTA, HUBER_DELTA)
        kinds = {
            "mae": (size, tf.sign(error)),
            "mse": (tf.square(error), 2 * error),
            "huber": (within * (error - 0.5 * within), within),
        }
        loss = sum(tf.constant(self.losses == kind, tf.float32) * value for kind, (value, _) in kinds.items())
        slope = sum(tf.constant(self.losses == kind, tf.float32) * value for kind, (_, value) in kinds.items())
        total = tf.reduce_sum(weights, axis=0)
        slope = tf.math.divide_no_nan(slope * weights, total)
        gradients = [
            tf.matmul(tf.gather(slope, members, axis=1), masked[mask], transpose_a=True)
            for mask, members in self.groups
        ]
        kernel_gradient = tf.gather(tf.concat(gradients, axis=0), self._back)
        bias_gradient = tf.reduce_sum(slope, axis=0)
        self._adam(tf.concat([kernel_gradient, bias_gradient[:, None]], axis=1), self.moving * tf.sign(total))
        return tf.stack([tf.reduce_sum(value * weights, axis=0) for value in (loss, size)] + [total])

    def _adam(self, gradient, moves):
        """One step of the heads whose `moves` is 1; nothing of the others changes."""
        self.steps.assign_add(moves)
        first, second, gate = *self.moments, moves[:, None]
        first.assign_add(gate * (gradient - first) * (1 - BETA_1))
        second.assign_add(gate * (tf.square(gradient) - second) * (1 - BETA_2))
        steps = tf.maximum(self.steps, 1)
        rate = self.rate * tf.sqrt(1 - BETA_2**steps) / (1 - BETA_1**steps)
        change = (moves * rate)[:, None] * first / (tf.sqrt(second) + EPSILON)
        self.kernel.assign_sub(change[:, :-1])
        self.bias.assign_sub(change[:, -1])
