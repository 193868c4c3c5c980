"""What a phase is fitted on: patches into the whole model, or a frozen prefix's features into the rest of it.

Both draw the same patches in the same order with the same augmentation, and train the same variables.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from age_keras.data.augment import get_policy
from age_keras.data.mixup import mix_batches
from age_keras.data.patch_store import PatchStore
from age_keras.data.pipeline import batches, steps
from age_keras.models.age import AgeModel
from age_keras.training.age_config import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.training.prefix import split_model

PREDICTION_BATCH = 64


@dataclass(frozen=True)
class PatchData:
    """The patches of all pages, with what the loss needs to know of each.

    Attributes:
        store: the patches.
        targets: float32 (P, 1), years; NaN where the page has no age.
        weights: float32 (P,), or None.
    """

    store: PatchStore
    targets: np.ndarray
    weights: np.ndarray | None = None


class PixelFeed:
    """Patches into the whole model.

    Args:
        model: from patches (N, S, S, C) to the head's raw output.
        data: all patches.
        training, runtime: the protocol and the machine's side.
        seed: of order and augmentation.
        views: augmented copies a patch; None makes a new one each epoch.
    """

    def __init__(
        self,
        model: keras.Model,
        data: PatchData,
        training: TrainingConfig,
        runtime: RuntimeConfig,
        seed: int,
        views: int | None,
    ):
        self.model, self.data, self.training, self.seed, self.views = model, data, training, seed, views
        self.policy = get_policy(training.augment, training.strength)
        # Keras fails on a last batch that is smaller than the number of replicas.
        self.drop_remainder = runtime.strategy != "none"

    def steps(self, rows: np.ndarray) -> int:
        """Batches in an epoch of these patches."""
        return steps(len(rows), self.training.batch_size, self.drop_remainder)

    def train(self, rows: np.ndarray, first_epoch: int) -> tf.data.Dataset:
        """Endless augmented batches of these patches, from an epoch on."""
        dataset = self._batches(
            rows,
            batch_size=self.training.batch_size,
            shuffle=self.training.shuffle,
            policy=self.policy,
            views=self.views,
            first_epoch=first_epoch,
            weights=self.data.weights,
            drop_remainder=self.drop_remainder,
        )
        if self.training.mix == "none":
            return dataset
        return mix_batches(dataset, self.training.mix, self.seed + 7919 * first_epoch)

    def validation(self, rows: np.ndarray) -> tf.data.Dataset:
        """These patches once, as they are."""
        batch = min(PREDICTION_BATCH, len(rows))
        return self._batches(rows, batch_size=batch, shuffle=False, epochs=1, drop_remainder=self.drop_remainder)

    def pixels(self, rows: np.ndarray) -> tf.data.Dataset:
        """Augmented patches of the first epoch, to look at."""
        sample = self._batches(rows, batch_size=8, shuffle=True, policy=self.policy, views=self.views, epochs=1)
        return sample.map(lambda x, *_: x).take(1)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The head's raw output for these patches, float32 (n, units)."""
        dataset = self._batches(rows, batch_size=PREDICTION_BATCH, shuffle=False, epochs=1)
        return self.model.predict(dataset.map(lambda x, *_: x), verbose=0)

    def _batches(self, rows: np.ndarray, **order: Any) -> tf.data.Dataset:
        store = self.data.store
        return batches(store.patches, self.data.targets, store.keys, seed=self.seed, indices=rows, **order)


def make_feed(
    model: AgeModel, data: PatchData, config: AgeConfig, phase: PhaseConfig, learn: np.ndarray, notes: list[str]
) -> PixelFeed:
    """The feed of a phase, after `unfreeze`: features where a frozen prefix can be computed once, else pixels.

    Args:
        model, data, config, phase: what is trained, on what, how.
        learn: rows of the patches that are learnt from.
        notes: gets a sentence for the report on what was chosen.
    """
    split = split_model(model.trained)
    views = None if config.training.views in ("inf", "auto") else config.training.views
    return PixelFeed(split.whole, data, config.training, config.runtime, config.seed, views)
