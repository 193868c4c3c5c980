"""The entries that a training uses, and their room: none of them goes for another, and all share one memory."""

import hashlib
import json
from pathlib import Path

import tensorflow as tf

from age_keras.training.cache_room import default_disk_budget, default_memory_budget, make_room
from age_keras.training.feature_entry import FeatureEntry
from age_keras.training.prefix_pass import PrefixPass


class CacheEntries:
    """Finds entries and makes room for more.

    Args:
        directory: of all entries.
        memory_budget, disk_budget: bytes; with None, those of `cache_room`.

    Attributes:
        memory_left: bytes of the memory's budget that are not taken.
    """

    def __init__(self, directory: Path, memory_budget: int | None, disk_budget: int | None):
        self.directory = directory
        self.memory_left = default_memory_budget() if memory_budget is None else memory_budget
        self.disk_budget = default_disk_budget(directory) if disk_budget is None else disk_budget
        self._known: dict[Path, FeatureEntry] = {}

    def of(self, work: PrefixPass, views: list[int | None], precision: str) -> dict[int | None, FeatureEntry]:
        """The entry of each view, as it stands now."""
        entries = {}
        for view in views:
            facts = {**work.facts, "view": view, "seed": work.seed, "precision": precision}
            name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:32]
            folder, shapes = self.directory / name, [tensor.shape for tensor in work.split.boundary]
            if folder in self._known:
                self._known[folder].refresh()
            else:
                dtype = tf.as_dtype(precision).as_numpy_dtype
                self._known[folder] = FeatureEntry(folder, shapes, dtype, facts)
            entries[view] = self._known[folder]
        return entries

    def make_room(self, need: int) -> bool:
        """Room for so many bytes on disk; the entries that were asked for here stay."""
        return not need or make_room(self.directory, need, self.disk_budget, self._known)

    def take(self, memory: int) -> None:
        """Takes bytes of the memory's budget; with a number below zero, gives them back."""
        self.memory_left -= memory
