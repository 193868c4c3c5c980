"""Many linear heads trained together on the features of one frozen backbone: folds, learning rates, dropouts, losses.

    phase = PhaseConfig(epochs=50, learning_rate=1e-3)
    heads = [HeadSettings(train=fold != k, validate=fold == k, phase=phase) for k in range(1, 6)]
    results = LinearHeads(heads).fit(copies, plain, ages, keys, epochs=50, batch_size=128, views=8)

All heads see the same batches, in the order of the input pipeline; each learns from its own rows of a batch. Its loss
is the mean over those rows (the weighted mean, where `train` holds weights), so the result is that of a Keras `fit` of
this head alone on the same batches with `sample_weight=train` and a loss with `reduction="mean_with_sample_weight"`.
Heads with the same dropout and seed share a mask, as separate fits with the same seed do. The kernels of heads with the
same mask and loss are stacked, (K, D): one matrix product does the work of K models, and one Keras optimizer, which
works element by element, makes all their steps, each at its head's own learning rate.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from age_keras.config.age import PhaseConfig
from age_keras.config.model import RegressionLoss
from age_keras.data.batches.pipeline import batch_indices
from age_keras.data.batches.views import epoch_views
from age_keras.fitting.best_epoch import BestEpoch
from age_keras.models.heads import HEADS
from age_keras.prefix import Features, LiveFeatures
from age_keras.training.optimizers import build_optimizer
from age_keras.training.phases import learning_rate, patience

SLAB_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class HeadSettings:
    """One linear head.

    Attributes:
        train: (P,), the rows that it learns from: a mask, or weights.
        validate: bool (P,), the rows that choose its epoch.
        phase: Learning rate, schedule and patience; the optimizer is Adam.
        loss: `"mae"`, `"mse"`, or `"huber"`. Defaults to `"mae"`.
        dropout: Rate on the features. Defaults to 0.5.
        seed: Of the dropout. Defaults to 0.
        bias: What the untrained head answers, in years; its kernel starts at zero. Defaults to 0.
        block: A number that heads have in common whose results, to the last bit, do not depend on heads with another;
            between the heads of a block there is rounding. Defaults to 0.
    """

    train: np.ndarray
    validate: np.ndarray
    phase: PhaseConfig
    loss: RegressionLoss = "mae"
    dropout: float = 0.5
    seed: int = 0
    bias: float = 0.0
    block: int = 0


@dataclass(frozen=True)
class TrainedHead:
    """What became of one head.

    Attributes:
        kernel: float32 (D, 1), of the best epoch; fits the kernel of a Dense layer.
        bias: float32 (1,).
        best_epoch: Counted from 0; -1 where no epoch had an error that is a number.
        history: A dict for each epoch until it stopped: `loss`, `mae`, `val_mae`, `learning_rate`.
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
        heads: Their settings.
    """

    def __init__(self, heads: Sequence[HeadSettings]):
        if not heads:
            raise ValueError("`heads` must hold at least one head. Received: heads=[]")
        self.heads = list(heads)

    def fit(
        self,
        copies: Features | LiveFeatures,
        plain: Features | LiveFeatures,
        targets: np.ndarray,
        keys: np.ndarray,
        *,
        epochs: int,
        batch_size: int,
        views: int | None = 1,
        seed: int = 0,
        shuffle: bool = True,
        label: str = "",
    ) -> list[TrainedHead]:
        """Trains until each head has stopped or `epochs` are over.

        Args:
            copies: Features of the augmented copies, of one tensor (D,); `plain` where there are none.
            plain: Features of the patches as they are, for validation.
            targets: (P,) or (P, 1), years.
            keys: uint64 (P,), the patches' identities, which choose each epoch's copies.
            epochs: At most so many.
            batch_size: Rows of a batch, of all heads together.
            views: Copies a patch. Defaults to 1.
            seed: Of order and copies, as in `row_batches`. Defaults to 0.
            shuffle: Whether each epoch has an order of its own. Defaults to `True`.
            label: What a progress bar of epochs says. Defaults to none: no bar.

        Returns:
            A result for each head, at its best epoch.
        """
        train = np.stack([np.asarray(head.train, np.float32) for head in self.heads], axis=1)
        validate = np.stack([np.asarray(head.validate, bool) for head in self.heads], axis=1)
        targets = np.asarray(targets, np.float32).reshape(-1)
        rows, checked = np.flatnonzero(train.any(axis=1)), np.flatnonzero(validate.any(axis=1))
        targets = np.where(train.any(axis=1) | validate.any(axis=1), targets, np.float32(0))
        stacked = _Stacked(self.heads, plain.boundary[0].shape[0], batch_size)
        held_out = tf.constant(plain.gather(checked)[0])
        watched = [_Watched(head) for head in self.heads]
        slab = max(1, SLAB_BYTES // (held_out.shape[1] * 4 * batch_size)) * batch_size
        augmented = any(view is not None for view in copies.views)
        for epoch in tqdm(range(epochs), label, disable=not label, unit=" epochs", file=sys.stderr, leave=False):
            rates = np.array([each.learning_rate(epoch) for each in watched], np.float32)
            stacked.set_rates(rates)
            order = rows[batch_indices(len(rows), seed, epoch)] if shuffle else rows
            drawn = epoch_views(keys[order], epoch, views, seed) if augmented else None
            sums = np.zeros((3, len(self.heads)))
            for first in range(0, len(order), slab):
                part = order[first : first + slab]
                features = copies.gather(part, None if drawn is None else drawn[first : first + slab])[0]
                sums += stacked.train(features, targets[part], train[part]).numpy()
            errors = np.abs(stacked.predict(held_out).numpy() - targets[checked, None])
            counted = validate[checked]
            mae = (errors * counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
            for k, each in enumerate(watched):
                if not each.best.stopped:
                    loss, error, weight = sums[:, k]
                    logs = {"loss": loss / weight, "mae": error / weight, "val_mae": float(mae[k])}
                    each.history.append({**logs, "learning_rate": float(rates[k])})
                    if each.best.update(epoch, logs["val_mae"], diverged=not np.isfinite(logs["loss"])):
                        each.weights = stacked.weights(k)
            if all(each.best.stopped for each in watched):
                break
        return [
            TrainedHead(*(each.weights or stacked.weights(k)), each.best.epoch, each.history)
            for k, each in enumerate(watched)
        ]


@dataclass
class _Watched:
    """A head's epochs. It stops alone; its column is trained on with the others', and nobody looks at it."""

    head: HeadSettings
    history: list[dict[str, float]] = field(default_factory=list)
    weights: tuple[np.ndarray, np.ndarray] | None = None

    def __post_init__(self):
        self.best = BestEpoch(**patience(self.head.phase))

    def learning_rate(self, epoch: int) -> float:
        return learning_rate(self.head.phase, epoch, self.best.rate_factor)


class _Group:
    """Heads of a block with the same mask and loss."""

    def __init__(self, heads: Sequence[HeadSettings], members: list[int], size: int):
        first = heads[members[0]]
        self.members, self.mask = members, (first.dropout, first.seed)
        # The bias is the last column: the features get one that is always 1.
        self.weights = keras.Variable(np.zeros((len(members), size + 1), np.float32))
        self.weights.value[:, -1].assign([heads[k].bias for k in members])
        self.rate = tf.Variable(tf.zeros((len(members), 1)))
        self.loss = HEADS["regression"].loss(first.loss)
        self.loss.reduction = "none"

    def predict(self, features):
        """(B, D + 1) to (B, K)."""
        return tf.matmul(features, self.weights.value, transpose_b=True)


def _with_one(features):
    """(B, D) to float32 (B, D + 1): under a mixed policy features are float16, but the head computes in float32."""
    return tf.pad(tf.cast(features, tf.float32), [[0, 0], [0, 1]], constant_values=1.0)


class _Stacked:
    """All heads, and the steps that change them."""

    def __init__(self, heads: Sequence[HeadSettings], size: int, batch_size: int):
        self.batch_size = batch_size
        members: dict[tuple, list[int]] = {}
        for k, head in enumerate(heads):
            members.setdefault((head.block, head.dropout, head.seed, head.loss), []).append(k)
        self.groups = [_Group(heads, each, size) for each in members.values()]
        self._place = {k: (group, place) for group in self.groups for place, k in enumerate(group.members)}
        self._order = np.argsort([k for group in self.groups for k in group.members])
        self.masks = {group.mask: keras.random.SeedGenerator(group.mask[1]) for group in self.groups}
        self.variables = [group.weights for group in self.groups]
        rates = {id(group.weights): group.rate for group in self.groups}
        self.optimizer = build_optimizer(PhaseConfig(epochs=1, learning_rate=1.0), rates, track=False)
        self.optimizer.build(self.variables)

    def weights(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (D, 1) and bias (1,) of a head."""
        group, place = self._place[k]
        weights = group.weights.value[place].numpy()
        return weights[:-1, None], weights[-1:]

    def set_rates(self, rates: np.ndarray) -> None:
        """Sets the learning rates of all heads, (K,)."""
        for group in self.groups:
            group.rate.assign(rates[group.members][:, None])

    @tf.function(autograph=False)
    def predict(self, features):
        """(B, D) to years (B, K)."""
        features = _with_one(features)
        return self._in_order([group.predict(features) for group in self.groups])

    @tf.function(autograph=False, reduce_retracing=True)
    def train(self, features, targets, weights):
        """All batches of a slab. Returns sums over rows of loss, absolute error and weight, (3, K)."""
        n = tf.shape(features)[0]

        def step(first, sums):
            rows = slice(first, tf.minimum(first + self.batch_size, n))
            return first + self.batch_size, sums + self._step(features[rows], targets[rows], weights[rows])

        start = (tf.constant(0), tf.zeros((3, weights.shape[1])))
        return tf.while_loop(lambda first, _: first < n, step, start, parallel_iterations=1)[1]

    def _step(self, x, y, weights):
        masked = {
            (rate, seed): _with_one(keras.random.dropout(x, rate, seed=generator) if rate else x)
            for (rate, seed), generator in self.masks.items()
        }
        sums, objective = [], 0.0
        with tf.GradientTape() as tape:
            for group in self.groups:
                predicted = group.predict(masked[group.mask])
                loss = group.loss(y[:, None, None], predicted[:, :, None])
                error = tf.abs(predicted - y[:, None])
                own = tf.gather(weights, group.members, axis=1)
                found = [tf.reduce_sum(value * own, axis=0) for value in (loss, error, tf.ones_like(own))]
                objective += tf.reduce_sum(tf.math.divide_no_nan(found[0], found[2]))
                sums.append(tf.stack(found))
        self.optimizer.apply(tape.gradient(objective, [v.value for v in self.variables]), self.variables)
        return self._in_order(sums)

    def _in_order(self, columns):
        """Columns of the groups, as the heads were given."""
        return tf.gather(tf.concat(columns, axis=1), self._order, axis=1)
