"""Many linear heads trained together on the features of one frozen prefix: folds, learning rates, dropouts, losses.

    heads = [HeadSettings(train=fold != k, validate=fold == k, dropout=0.5, learning_rate=1e-3) for k in range(1, 6)]
    results = LinearHeads(heads).fit(copies, plain, ages, keys, epochs=50, batch_size=128, views=8)

All heads see the same batches, in the order of the input pipeline; each learns from its own rows of a batch. Its loss
is the mean over those rows (the weighted mean, where `train` holds weights), so the result is that of a Keras `fit` of
this head alone on the same batches with `sample_weight=train` and a loss with `reduction="mean_with_sample_weight"`.
A batch that holds none of a head's rows leaves it as it is. Heads with the same dropout and seed share a mask, as
separate fits with the same seed do. Kernels, moments and step counts are stacked, (K, D): one matrix product does the
work of K models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np
import tensorflow as tf

from age_keras.data.pipeline import batch_indices
from age_keras.data.views import epoch_views
from age_keras.training.feature_store import FeatureStore
from age_keras.training.head_watch import HeadWatch

HUBER_DELTA = 5.0
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7  # Adam (Kingma and Ba 2015), as Keras has it by default.
SLAB_BYTES = 256 * 2**20


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


@dataclass(frozen=True)
class TrainedHead:
    """What became of one head.

    Attributes:
        kernel: float32 (D, 1), of the best epoch; fits the kernel of a Dense layer.
        bias: float32 (1,).
        best_epoch: counted from 0.
        history: a dict for each epoch until it stopped: `loss`, `mae`, `val_mae`, `learning_rate`.
    """

    kernel: np.ndarray
    bias: np.ndarray
    best_epoch: int
    history: list[dict[str, float]]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Ages in years, float32 (N, 1), from features (N, D)."""
        return features @ self.kernel + self.bias


class LinearHeads:
    """Trains heads together.

    Args:
        heads: their settings.
    """

    def __init__(self, heads: Sequence[HeadSettings]):
        if not heads:
            raise ValueError("`heads` must hold at least one head. Received: heads=[]")
        self.heads = list(heads)

    def fit(
        self,
        copies: FeatureStore,
        plain: FeatureStore,
        targets: np.ndarray,
        keys: np.ndarray,
        *,
        epochs: int,
        batch_size: int,
        views: int | None = 1,
        seed: int = 0,
        shuffle: bool = True,
    ) -> list[TrainedHead]:
        """Trains until each head has stopped or `epochs` are over.

        Args:
            copies: features of the augmented copies, of one tensor (D,); `plain` where there are none.
            plain: features of the patches as they are, for validation.
            targets: (P,) or (P, 1), years.
            keys: uint64 (P,), the patches' identities, which choose each epoch's copies.
            epochs: at most so many.
            batch_size: rows of a batch, of all heads together.
            views: copies a patch. Defaults to 1.
            seed: of order and copies, as in `row_batches`.
            shuffle: whether each epoch has an order of its own.

        Returns:
            A result for each head, at its best epoch.
        """
        train = np.stack([np.asarray(head.train, np.float32) for head in self.heads], axis=1)
        validate = np.stack([np.asarray(head.validate, bool) for head in self.heads], axis=1)
        targets = np.asarray(targets, np.float32).reshape(-1)
        rows, checked = np.flatnonzero(train.any(axis=1)), np.flatnonzero(validate.any(axis=1))
        targets = np.where(train.any(axis=1) | validate.any(axis=1), targets, np.float32(0))
        state = _State(self.heads, plain.boundary[0].shape[0], batch_size)
        held_out = tf.constant(plain.gather(checked)[0])
        watched = [HeadWatch(head) for head in self.heads]
        slab = max(1, SLAB_BYTES // (held_out.shape[1] * 4 * batch_size)) * batch_size
        augmented = any(view is not None for view in copies.views)
        for epoch in range(epochs):
            order = rows[batch_indices(len(rows), seed, epoch)] if shuffle else rows
            drawn = epoch_views(keys[order], epoch, views, seed) if augmented else None
            sums = np.zeros((3, len(self.heads)))
            for first in range(0, len(order), slab):
                part = order[first : first + slab]
                features = copies.gather(part, None if drawn is None else drawn[first : first + slab])[0]
                sums += state.train(features, targets[part], train[part]).numpy()
            predicted = state.predict(held_out).numpy()
            errors = np.abs(predicted - targets[checked, None])
            counted = validate[checked]
            mae = (errors * counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
            rates = state.rate.numpy()
            for k, watch in enumerate(watched):
                if not watch.stopped:
                    loss, error, weight = sums[:, k]
                    logs = {"loss": loss / weight, "mae": error / weight, "val_mae": float(mae[k])}
                    rates[k] = watch.after(epoch, logs, float(rates[k]), lambda k=k: state.weights(k))
            state.rate.assign(rates)
            state.moving.assign([float(not watch.stopped) for watch in watched])
            if all(watch.stopped for watch in watched):
                break
        return [TrainedHead(*w.weights, w.best_epoch, w.history) for w in watched]


class _State:
    """Stacked variables of all heads, and the steps that change them."""

    def __init__(self, heads: Sequence[HeadSettings], size: int, batch_size: int):
        count = len(heads)
        self.kernel = tf.Variable(tf.zeros((count, size)))
        self.bias = tf.Variable([float(head.bias) for head in heads])
        self.rate = tf.Variable([float(head.learning_rate) for head in heads])
        self.moving = tf.Variable(tf.ones(count))
        self.steps = tf.Variable(tf.zeros(count))
        self.moments = [tf.Variable(tf.zeros((count, size + 1))) for _ in range(2)]
        self.batch_size = batch_size
        self.losses = np.array([head.loss for head in heads])
        groups: dict[tuple, list[int]] = {}
        for k, head in enumerate(heads):
            groups.setdefault((head.dropout, head.seed if head.dropout else None), []).append(k)
        self.groups = [
            (rate, keras.random.SeedGenerator(seed) if rate else None, members)
            for (rate, seed), members in groups.items()
        ]
        self._back = np.argsort(np.concatenate([members for _, _, members in self.groups]))

    def weights(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (D, 1) and bias (1,) of a head."""
        return self.kernel[k].numpy()[:, None], self.bias[k].numpy()[None]

    @tf.function(autograph=False)
    def predict(self, features):
        return tf.matmul(features, self.kernel, transpose_b=True) + self.bias

    @tf.function(autograph=False, reduce_retracing=True)
    def train(self, features, targets, weights):
        """All batches of a slab. Returns sums over rows of loss, absolute error and weight, (3, K)."""
        n = tf.shape(features)[0]

        def step(first, sums):
            last = tf.minimum(first + self.batch_size, n)
            added = self._step(features[first:last], targets[first:last], weights[first:last])
            return first + self.batch_size, sums + added

        start = (tf.constant(0), tf.zeros((3, weights.shape[1])))
        return tf.while_loop(lambda first, _: first < n, step, start, parallel_iterations=1)[1]

    def _step(self, x, y, weights):
        inputs = [keras.random.dropout(x, rate, seed=seeds) if rate else x for rate, seeds, _ in self.groups]
        columns = [
            tf.matmul(x_g, tf.gather(self.kernel, members), transpose_b=True)
            for x_g, (_, _, members) in zip(inputs, self.groups, strict=True)
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
            tf.matmul(tf.gather(slope, members, axis=1), x_g, transpose_a=True)
            for x_g, (_, _, members) in zip(inputs, self.groups, strict=True)
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
