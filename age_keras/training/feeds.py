"""What a phase is fitted on: patches into the whole model, or a frozen prefix's features into the rest of it.

Both draw the same patches in the same order with the same augmentation, and train the same variables.
"""

import weakref
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from age_keras.config.age import AgeConfig, RuntimeConfig, TrainingConfig
from age_keras.data.batches.augment import get_policy
from age_keras.data.batches.mixup import mix_batches
from age_keras.data.batches.pipeline import batches, row_batches, steps
from age_keras.data.patches.store import PatchStore
from age_keras.errors import InputError
from age_keras.prefix import CutModel, FeatureCache, Features, LiveFeatures, Wanted
from age_keras.training.phases import Phase, PhasePlan

PREDICTION_BATCH = 64
SMALL_STEP = 3e9
"""Multiply-adds: a step with fewer takes about as long as the call that Keras makes for it, or less."""
MANY_STEPS = 1000
"""From so many steps on, what tracing a loop of them takes is saved."""


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
        # Keras fails on a batch that the replicas cannot share evenly.
        self.drop_remainder = runtime.strategy != "none"
        self.replicas = tf.distribute.get_strategy().num_replicas_in_sync
        if training.batch_size % self.replicas:
            raise InputError(
                f"A batch of {training.batch_size} cannot be shared evenly by {self.replicas} devices: give a multiple "
                "as --training.batch-size."
            )

    def steps(self, rows: np.ndarray) -> int:
        """Batches in an epoch of these patches."""
        count = steps(len(rows), self.training.batch_size, self.drop_remainder)
        if not count:
            raise InputError(f"{len(rows)} patches do not fill a batch: give a smaller --training.batch-size.")
        return count

    def steps_at_once(self, rows: np.ndarray, epochs: int) -> int:
        """Steps that Keras runs in one call (`steps_per_execution`): 1, or all of an epoch.

        A number that does not divide an epoch's would carry steps over into the next one.
        """
        return 1

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
        # Batches of another size for each fold would each be traced anew.
        batch = _fullest(len(rows), self.replicas) if self.drop_remainder else PREDICTION_BATCH
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


class FeatureFeed(PixelFeed):
    """Features of the frozen prefix into the rest of the model: the same patches, order and copies as `PixelFeed`.

    Args:
        split: the model, cut.
        copies: features of the augmented copies of what is learnt from.
        plain: features, as they are, of what is validated and predicted.
        **pixels: as for `PixelFeed`, without `model`.
    """

    def __init__(self, split: CutModel, copies: Features, plain: Features, **pixels: Any):
        super().__init__(model=split.suffix, **pixels)
        self.copies, self.plain = copies, plain
        self.step_work = 3 * split.multiply_adds * split.suffix_fraction * self.training.batch_size

    def steps_at_once(self, rows: np.ndarray, epochs: int) -> int:
        steps = self.steps(rows)
        return steps if self.step_work < SMALL_STEP and steps * epochs >= MANY_STEPS else 1

    def predict(self, rows: np.ndarray) -> np.ndarray:
        # `predict` of a model whose steps run many at once would be traced for so many batches.
        dataset = self._batches(rows, batch_size=PREDICTION_BATCH, shuffle=False, epochs=1)
        return np.concatenate([self.model.predict_on_batch(x) for x, *_ in dataset])

    def _batches(self, rows: np.ndarray, *, policy: Any = None, weights: np.ndarray | None = None, **order: Any):
        store = self.plain if policy is None else self.copies
        columns = [self.data.targets] if weights is None else [self.data.targets, weights]
        # TensorFlow never lets go of a function that a dataset calls: the store goes with the feed.
        held = weakref.ref(store)

        def fetch(rows, views, _keys):
            features: Any = held()
            gathered = features.gather(rows, None if policy is None else views)
            return [*gathered, *(column[rows] for column in columns)]

        inside = len(store.signature)
        signature = [*store.signature, *(tf.TensorSpec((None, *c.shape[1:]), c.dtype) for c in columns)]
        return row_batches(
            fetch,
            signature,
            self.data.store.keys,
            transform=lambda *tensors: (tensors[:inside], *tensors[inside:]),
            seed=self.seed,
            indices=rows,
            **order,
        )

    def pixels(self, rows: np.ndarray) -> tf.data.Dataset:
        sample = super()._batches(rows, batch_size=8, shuffle=True, policy=self.policy, views=self.views, epochs=1)
        return sample.map(lambda x, *_: x).take(1)


def _fullest(rows: int, replicas: int) -> int:
    """The batch size, a multiple of the replicas and not small, that leaves out the fewest rows."""
    largest = min(rows, PREDICTION_BATCH) // replicas * replicas
    if not largest:
        raise InputError(f"{rows} patches cannot choose the epoch on {replicas} devices: give more of them.")
    return min(range(largest, largest // 2, -replicas), key=lambda size: rows % size)


@dataclass(frozen=True, eq=False)
class PhaseFeatures:
    """Finds or computes the features that a phase trains on.

    Attributes:
        cache: Where they are kept.
        store: The patches.
        config: Augmentation and seed.
        learn: Rows of the patches that are trained on, as augmented copies.
        others: Rows of the patches that are validated and predicted, as they are.
        label: What the progress bar says.
    """

    cache: FeatureCache
    store: PatchStore
    config: AgeConfig
    learn: np.ndarray
    others: np.ndarray
    label: str

    def of(self, phase: Phase, ahead: Phase | None = None) -> tuple[Features, Features] | None:
        """Features of the augmented copies of `learn`, and of `others`; `None` where there is no room.

        Args:
            phase: Its cut and views.
            ahead: The next phase, where its features are to be computed first, and these from them.
        """
        below = [self._copies(ahead), self._plain(ahead)] if ahead else []
        found = self.cache.together([self._copies(phase), self._plain(phase)], below, self.label)
        return None if found is None else (found[0], found[1])

    def live(self, phase: Phase) -> tuple[LiveFeatures, LiveFeatures]:
        """What `of` gives, computed anew whenever it is asked for."""
        return LiveFeatures(self._copies(phase)), LiveFeatures(self._plain(phase))

    def _copies(self, phase: Phase) -> Wanted:
        assert phase.views is not None, "A view of its own each epoch is not kept."
        policy = get_policy(self.config.training.augment, self.config.training.strength)
        plain = self._plain(phase)
        return replace(plain, rows=self.learn, views=range(phase.views), policy=policy, seed=self.config.seed)

    def _plain(self, phase: Phase) -> Wanted:
        return Wanted(phase.cut, self.store.patches, self.store.keys, rows=self.others)


def make_feed(
    plan: PhasePlan, phase: Phase, data: PatchData, learn: np.ndarray, others: np.ndarray, notes: list[str]
) -> PixelFeed:
    """The feed of a phase: features where a frozen part can be computed once, else pixels.

    Args:
        plan: The model and the protocol.
        phase: The phase.
        data: All patches.
        learn: Rows of the patches that are trained on.
        others: Rows of the patches that are validated and predicted.
        notes: Gets sentences for the report: on the views, and on features that are not exact.
    """
    training, runtime = plan.config.training, plan.config.runtime
    notes += plan.views_notes(phase)
    shared: dict[str, Any] = {"data": data, "training": training, "runtime": runtime}
    shared |= {"seed": plan.config.seed, "views": phase.views}
    features = None
    if plan.caches(phase):
        cache = FeatureCache(dtype=runtime.prefix_precision, computed_in=runtime.prefix_compute, say=notes.append)
        wanted = PhaseFeatures(cache, data.store, plan.config, learn, others, f"{plan.age.spec.name}: frozen layers")
        features = wanted.of(phase, plan.ahead(phase))
    return FeatureFeed(phase.cut, *features, **shared) if features else PixelFeed(phase.cut.whole, **shared)
