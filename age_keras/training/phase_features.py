"""The features that a phase trains on, and those that it validates and predicts with."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.data.batches.augment import get_policy
from age_keras.data.patches.store import PatchStore
from age_keras.prefix.cache.cache import FeatureCache
from age_keras.prefix.cache.live import LiveFeatures
from age_keras.prefix.compute import PrefixPass
from age_keras.prefix.cut import CutModel
from age_keras.prefix.features import Features
from age_keras.prefix.graph import CallsModel
from age_keras.prefix.halfway import Halfway, between


@dataclass(frozen=True, eq=False)
class Cut:
    """A phase's cut, and how many augmented copies of a patch the phase draws."""

    split: CutModel
    views: int


@dataclass(frozen=True, eq=False)
class PhaseFeatures:
    """Finds or computes features of all phases.

    Attributes:
        cache: where they are kept.
        store: the patches.
        config: augmentation and seed.
        learn: rows of the patches that are learnt from.
        others: rows of those that are validated and predicted.
        label: what the progress bar says.
    """

    cache: FeatureCache
    store: PatchStore
    config: AgeConfig
    learn: np.ndarray
    others: np.ndarray
    label: str

    def of(self, cut: Cut, ahead: Cut | None = None) -> tuple[Features, Features] | None:
        """Features of the augmented copies of `learn`, and of `others` as they are; None where there is no room.

        Args:
            cut: the phase's.
            ahead: the next phase's, whose features are then computed first, and these from them.
        """
        wanted, starts = [self._copies(cut), self._plain(cut)], [None, None]
        onward = between(ahead.split, cut.split) if ahead else None
        if onward is not None:
            lower = [self._copies(ahead), self._plain(ahead)]
            if self.cache.reserve([*wanted, *lower], quietly=True):
                starts = [self._start(onward, each) for each in lower]
        if not self.cache.reserve(wanted):
            return None
        found = []
        for each, start in zip(wanted, starts, strict=True):
            features = self.cache.features(**each, label=self.label, start=start)
            if features is None:
                return None
            found.append(features)
        return tuple(found)

    def live(self, cut: Cut) -> tuple[LiveFeatures, LiveFeatures]:
        """What `of` gives, computed anew whenever it is asked for."""
        plain = PrefixPass(cut.split, self.store.patches, self.store.keys)
        policy = self._copies(cut)["policy"]
        if policy.is_identity:
            return LiveFeatures(plain), LiveFeatures(plain)
        copies = replace(plain, policy=policy, seed=self.config.seed)
        return LiveFeatures(copies, range(cut.views)), LiveFeatures(plain)

    def _copies(self, cut: Cut) -> dict:
        """Arguments of `FeatureCache.features`."""
        training = self.config.training
        policy = get_policy(training.augment, training.strength)
        copies = {"views": range(cut.views), "policy": policy, "seed": self.config.seed}
        return {**self._plain(cut), **copies, "rows": self.learn}

    def _plain(self, cut: Cut) -> dict:
        return {"cut": cut.split, "patches": self.store.patches, "keys": self.store.keys, "rows": self.others}

    def _start(self, onward: CallsModel, lower: dict) -> Callable[[], Halfway | None]:
        def start() -> Halfway | None:
            features = self.cache.features(**lower, label=self.label, passing=True)
            # From rounded features others would be made than from the pixels.
            return Halfway(features, onward) if features and features.error == 0 else None

        return start


def next_phase(config: AgeConfig, phase: PhaseConfig) -> PhaseConfig | None:
    """Phase 2, during phase 1, where it leaves a part of the backbone frozen."""
    following, runtime = config.training.fine_tune, config.runtime
    if phase is not config.training.frozen or not following.epochs or not phase.unfreeze < following.unfreeze < 1:
        return None
    return following if runtime.prefix_cache and runtime.strategy == "none" else None
