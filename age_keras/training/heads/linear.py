"""Many linear heads trained together on the features of one frozen prefix: folds, learning rates, dropouts, losses.

    heads = [HeadSettings(train=fold != k, validate=fold == k, dropout=0.5, learning_rate=1e-3) for k in range(1, 6)]
    results = LinearHeads(heads).fit(copies, plain, ages, keys, epochs=50, batch_size=128, views=8)

All heads see the same batches, in the order of the input pipeline; each learns from its own rows of a batch. Its loss
is the mean over those rows (the weighted mean, where `train` holds weights), so the result is that of a Keras `fit` of
this head alone on the same batches with `sample_weight=train` and a loss with `reduction="mean_with_sample_weight"`.
A batch that holds none of a head's rows leaves it as it is. Heads with the same dropout and seed share a mask, as
separate fits with the same seed do. Kernels, moments and step counts of a block are stacked, (K, D): one matrix product
does the work of K models.
"""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from age_keras.data.batches.pipeline import batch_indices
from age_keras.data.batches.views import epoch_views
from age_keras.prefix.features import Features
from age_keras.training.heads.block import HeadBlock, HeadSettings, mask_of
from age_keras.training.heads.watch import HeadWatch

SLAB_BYTES = 256 * 2**20


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
        copies: Features,
        plain: Features,
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
            copies: features of the augmented copies, of one tensor (D,); `plain` where there are none.
            plain: features of the patches as they are, for validation.
            targets: (P,) or (P, 1), years.
            keys: uint64 (P,), the patches' identities, which choose each epoch's copies.
            epochs: at most so many.
            batch_size: rows of a batch, of all heads together.
            views: copies a patch. Defaults to 1.
            seed: of order and copies, as in `row_batches`.
            shuffle: whether each epoch has an order of its own.
            label: what a progress bar of epochs says. Defaults to none: no bar.

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
        for epoch in tqdm(range(epochs), label, disable=not label, unit=" epochs", file=sys.stderr, leave=False):
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
            rates = state.rates()
            for k, watch in enumerate(watched):
                if not watch.stopped:
                    loss, error, weight = sums[:, k]
                    logs = {"loss": loss / weight, "mae": error / weight, "val_mae": float(mae[k])}
                    rates[k] = watch.after(epoch, logs, float(rates[k]), lambda k=k: state.weights(k))
            state.go_on(rates, np.array([not watch.stopped for watch in watched], np.float32))
            if all(watch.stopped for watch in watched):
                break
        # A head whose errors were never numbers has no best epoch: its history says so.
        return [TrainedHead(*(w.weights or state.weights(k)), w.best_epoch, w.history) for k, w in enumerate(watched)]


class _State:
    """All blocks, and the steps that change them. Blocks share batches and dropout masks."""

    def __init__(self, heads: Sequence[HeadSettings], size: int, batch_size: int):
        self.batch_size, self.blocks = batch_size, []
        for _, block in itertools.groupby(heads, key=lambda head: head.block):
            self.blocks.append(HeadBlock(list(block), sum(len(b.losses) for b in self.blocks), size))
        self.masks = {mask_of(head): keras.random.SeedGenerator(head.seed) if head.dropout else None for head in heads}

    def weights(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (D, 1) and bias (1,) of a head."""
        block = next(b for b in self.blocks if b.slice.start <= k < b.slice.stop)
        k -= block.slice.start
        return block.kernel[k].numpy()[:, None], block.bias[k].numpy()[None]

    def rates(self) -> np.ndarray:
        """Learning rates of all heads, (K,)."""
        return np.concatenate([block.rate.numpy() for block in self.blocks])

    def go_on(self, rates: np.ndarray, moving: np.ndarray) -> None:
        """Sets the learning rates, and which heads still move."""
        for block in self.blocks:
            block.rate.assign(rates[block.slice])
            block.moving.assign(moving[block.slice])

    @tf.function(autograph=False)
    def predict(self, features):
        return tf.concat([block.predict(features) for block in self.blocks], axis=1)

    @tf.function(autograph=False, reduce_retracing=True)
    def train(self, features, targets, weights):
        """All batches of a slab. Returns sums over rows of loss, absolute error and weight, (3, K)."""
        n = tf.shape(features)[0]

        def step(first, sums):
            rows = slice(first, tf.minimum(first + self.batch_size, n))
            x, y, w = features[rows], targets[rows], weights[rows]
            masked = {
                mask: keras.random.dropout(x, mask[0], seed=seeds) if seeds else x for mask, seeds in self.masks.items()
            }
            added = [block.step(masked, y, w) for block in self.blocks]
            return first + self.batch_size, sums + tf.concat(added, axis=1)

        start = (tf.constant(0), tf.zeros((3, weights.shape[1])))
        return tf.while_loop(lambda first, _: first < n, step, start, parallel_iterations=1)[1]
