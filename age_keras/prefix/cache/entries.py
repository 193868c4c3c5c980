"""The entries that a training uses, and their room: none of them goes for another, and all share one memory."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf

from age_keras.prefix.cache.entry import FeatureEntry
from age_keras.prefix.cache.notes import NO_ROOM
from age_keras.prefix.cache.room import default_disk_budget, default_memory_budget, make_room
from age_keras.prefix.compute import PrefixPass


class CacheEntries:
    """Finds entries and makes room for more.

    Args:
        directory: of all entries.
        memory_budget, disk_budget: bytes; with None, those of `cache_room`.

    Attributes:
        memory_left: bytes of the memory's budget that are not taken.
        promised: bytes on disk for sets of features that are going to be filled and do not fit memory, by `name`.
    """

    def __init__(self, directory: Path, memory_budget: int | None, disk_budget: int | None):
        self.directory = directory
        self.memory_left = default_memory_budget() if memory_budget is None else memory_budget
        self.disk_budget = default_disk_budget(directory) if disk_budget is None else disk_budget
        self.promised: dict[tuple, int] = {}
        self._known: dict[Path, FeatureEntry] = {}

    def of(self, work: PrefixPass, views: list[int | None], precision: str) -> dict[int | None, FeatureEntry]:
        """The entry of each view, as it stands now."""
        entries = {}
        for view in views:
            facts = {**work.facts, "view": view, "seed": work.seed, "precision": precision}
            name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:32]
            folder, shapes = self.directory / name, [tensor.shape for tensor in work.cut.boundary]
            if folder in self._known:
                self._known[folder].refresh()
            else:
                dtype = tf.as_dtype(precision).as_numpy_dtype
                self._known[folder] = FeatureEntry(folder, shapes, dtype, facts)
            entries[view] = self._known[folder]
        return entries

    def name(self, entries: Iterable[FeatureEntry], ids: np.ndarray) -> tuple:
        """Names a set of features: some rows of some entries."""
        return (*(entry.folder.name for entry in entries), ids.tobytes())

    def why_no_room(self, need: int, name: tuple = ()) -> str:
        """Makes room for so many bytes on disk; the entries that were asked for here stay.

        Args:
            need: bytes.
            name: of the set that they are for: it is filled now, and what other sets were promised is left to them.

        Returns:
            Why there is no room; nothing where there is.
        """
        if name:
            self.promised.pop(name, None)
            need += sum(self.promised.values()) if need else 0
        try:
            there = not need or make_room(self.directory, need, self.disk_budget, self._known)
        except OSError as error:
            return f"cannot be written ({error.strerror})"
        return "" if there else NO_ROOM

    def take(self, memory: int) -> None:
        """Takes bytes of the memory's budget; with a number below zero, gives them back."""
        self.memory_left -= memory
