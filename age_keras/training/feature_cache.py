"""The feature cache: what a frozen prefix makes of each patch is computed once, by whoever needs it first.

    cache = FeatureCache()
    plain = cache.features(split, patches, keys)  # validation and test pages
    copies = cache.features(split, patches, keys, views=range(8), policy=policy, seed=0, rows=learn)
    if copies is None:                            # no room: train plainly
        ...
    arrays = copies.gather(rows, views)           # into split.suffix

An entry on disk holds the rows of one prefix (architecture and weights), one augmentation view, one precision. Rows are
known by their patch's key *and* pixels, and are only ever appended: folds, phases, trials and processes that need
other rows of the same entry add them, and nothing old fits a changed pixel, weight or setting.
"""

import dataclasses
import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from filelock import Timeout
from tqdm import tqdm

from age_keras.files import cache_dir
from age_keras.training.cache_room import default_disk_budget, default_memory_budget, make_room, touch
from age_keras.training.feature_entry import FeatureEntry
from age_keras.training.feature_store import FeatureStore, View, rounding_error
from age_keras.training.halfway import Halfway
from age_keras.training.prefix import Split
from age_keras.training.prefix_pass import PrefixPass, patch_identities

MAX_ERROR = 2**-8
"""The rounding of bfloat16. A precision that does worse, because values overflow, is not used."""


class FeatureCache:
    """Computes, keeps and finds features.

    Args:
        directory: of the entries. Defaults to `features` in the cache folder.
        memory_budget: bytes of features that one store may hold in memory. Defaults to a quarter of the memory.
        disk_budget: bytes of all entries; the least recently used go first. Defaults to 20 GB, and at most half of the
            free disk.
        dtype: `float32`, `float16` or `bfloat16`: how features are kept. They are handed out in the boundary's dtype.
            One that changes a feature by more than `MAX_ERROR` of its value (or of the tensor's root mean square, where
            that is larger) is replaced by float32.
        progress: show a bar while computing.
        say: called with a sentence that the user should read, once each. Defaults to `warnings.warn`.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        memory_budget: int | None = None,
        disk_budget: int | None = None,
        dtype: str = "float32",
        progress: bool = True,
        say: Callable[[str], None] = warnings.warn,
    ):
        if dtype not in ("float32", "float16", "bfloat16"):
            raise ValueError(f"`dtype` must be float32, float16 or bfloat16. Received: dtype={dtype}")
        self.directory = Path(directory) if directory else cache_dir() / "features"
        self.memory_budget = default_memory_budget() if memory_budget is None else memory_budget
        self.disk_budget = default_disk_budget(self.directory) if disk_budget is None else disk_budget
        self.dtype, self.progress = dtype, progress
        self._say, self._said = say, set()
        self._identified: tuple = (None, None, None)

    def features(
        self,
        split: Split,
        patches: np.ndarray,
        keys: np.ndarray,
        views: Sequence[int] | None = None,
        policy: keras.layers.Layer | None = None,
        seed: int = 0,
        label: str = "frozen prefix",
        rows: np.ndarray | None = None,
        start: Callable[[], Halfway | None] | None = None,
    ) -> FeatureStore | None:
        """The features of patches, computed where they are not yet in the cache.

        Args:
            split: from `split_model`, with a prefix.
            patches: uint8 (P, H, W, C).
            keys: uint64 (P,), the patches' lasting identities, which also choose the augmented copies.
            views: numbers of the augmented copies (`epoch_views`). Defaults to None: the patches as they are.
            policy: augments. With None, or one that changes nothing, all views are the patches as they are.
            seed: of the copies.
            label: what the progress bar says.
            rows: the rows that are needed. Defaults to all.
            start: gives features of a lower cut to start from; called where something has to be computed.

        Returns:
            The features, or None where they fit neither in memory nor on disk.
        """
        rows = np.arange(len(patches)) if rows is None else np.unique(rows)
        augmented = views is not None and policy is not None and not getattr(policy, "is_identity", False)
        numbers = sorted({int(view) for view in views}) if augmented else [None]
        work = PrefixPass(split, patches, keys, policy if augmented else None, seed if augmented else 0)
        try:
            store = self._fill(work, rows, numbers, label, self.dtype, start)
        except _TooCoarseError as coarse:
            self._once(
                f"Features are kept in float32: {self.dtype} would change them by up to {coarse.error:.1e} of their "
                f"value, more than {MAX_ERROR:.1e}."
            )
            store = self._fill(work, rows, numbers, label, "float32", start)
        if store is not None and views is not None and not augmented:
            store.views.update(dict.fromkeys(views, store.views[None]))
        return store

    def _fill(self, work: PrefixPass, rows, numbers, label: str, precision: str, start) -> FeatureStore | None:
        entries = {view: self._entry(work, view, precision) for view in numbers}
        every_id = self._identities(work.patches, work.keys)
        ids = every_id[rows]
        missing = {view: int((entry.find(ids) < 0).sum()) for view, entry in entries.items()}
        row_bytes = entries[numbers[0]].bytes_per_row
        need, total = row_bytes * sum(missing.values()), row_bytes * len(ids) * len(entries)
        if any(entry.damaged for entry in entries.values()):
            self._once("Some of the cached features were damaged, and are computed again.")
        in_memory = total <= self.memory_budget
        on_disk = not need or make_room(self.directory, need, self.disk_budget, [e.folder for e in entries.values()])
        if not on_disk and not self._without_disk(total, in_memory, "fit neither the cache's limit nor the disk"):
            return None
        if need and start is not None:
            work = dataclasses.replace(work, start=start())
        views, worst, computed = {}, 0.0, 0
        hidden = not (self.progress and need)
        with tqdm(
            total=sum(missing.values()), desc=label, unit=" patches", disable=hidden, file=sys.stderr, leave=False
        ) as bar:
            for view, entry in entries.items():
                held = [np.empty((len(ids), *shape), entry.dtype) for shape in entry.shapes] if in_memory else None
                fill = _Fill(work, view, entry, rows, ids, held, bar)
                try:
                    fill.run(on_disk, self._once)
                except _DiskError as full:
                    shutil.rmtree(entry.folder, ignore_errors=True)
                    if not self._without_disk(total, in_memory, f"cannot be written ({full.__cause__.strerror})"):
                        return None
                    on_disk = False
                    fill.run(on_disk, self._once)
                slots = np.full(len(every_id), -1, np.int64)
                slots[rows] = np.arange(len(ids)) if in_memory else entry.find(ids)
                views[view] = View(held or entry.arrays(), slots)
                worst, computed = max(worst, fill.error), computed + fill.computed
                touch(entry.folder)
        return FeatureStore(work.split.boundary, views, precision, worst, in_memory, computed)

    def _entry(self, work: PrefixPass, view: int | None, precision: str) -> FeatureEntry:
        facts = {**work.facts, "view": view, "seed": work.seed, "precision": precision}
        name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:32]
        dtype = tf.as_dtype(precision).as_numpy_dtype
        return FeatureEntry(self.directory / name, [tensor.shape for tensor in work.split.boundary], dtype, facts)

    def _identities(self, patches: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Reads all pixels; once for the same arrays, if they cannot be written to."""
        before, of_keys, identities = self._identified
        if before is not patches or of_keys is not keys or patches.flags.writeable:
            identities = patch_identities(patches, keys)
            self._identified = (patches, keys, identities)
        return identities

    def _without_disk(self, total: int, in_memory: bool, why: str) -> bool:
        instead = "they are kept in memory for this run" if in_memory else "the whole network is trained instead"
        self._once(f"{total / 1e9:.1f} GB of features {why}: {instead}.")
        return in_memory

    def _once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)


class _Fill:
    """One view of the wanted rows: what is there is read, the rest computed and appended batch by batch."""

    def __init__(self, work, view, entry, rows, ids, held, bar):
        self.work, self.view, self.entry, self.rows, self.ids = work, view, entry, rows, ids
        self.held, self.bar = held, bar
        self.done = np.zeros(len(ids), bool)
        self.error, self.computed = 0.0, 0

    def run(self, on_disk: bool, say: Callable[[str], None]) -> None:
        """Raises `_DiskError` where the disk is full; called again, it goes on in memory."""
        with ExitStack() as stack:
            if on_disk and (self.entry.find(self.ids) < 0).any():
                self._lock(stack, say)
                self.entry.refresh()  # Another process may have computed them meanwhile.
            if on_disk:
                self._read()
            todo = np.flatnonzero(~self.done)
            for batch, tensors in self.work.compute(self.rows[todo], self.view):
                self._take(todo[batch], tensors, on_disk)

    def _lock(self, stack: ExitStack, say) -> None:
        try:
            lock = self.entry.lock()
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say("Another process computes the same features: waiting for it.")
                lock.acquire()
        except OSError as error:
            raise _DiskError from error
        stack.callback(lock.release)

    def _read(self) -> None:
        slots = self.entry.find(self.ids)
        there = np.flatnonzero(slots >= 0)
        for target, array in zip(self.held or (), self.entry.arrays(), strict=False):
            target[there] = array[slots[there]]
        self.done[there] = True

    def _take(self, places: np.ndarray, tensors: list[np.ndarray], on_disk: bool) -> None:
        with np.errstate(over="ignore"):
            stored = [tensor.astype(self.entry.dtype) for tensor in tensors]
        self.error = max(self.error, *map(rounding_error, tensors, stored))
        if self.error > MAX_ERROR:
            raise _TooCoarseError(self.error)
        for target, tensor in zip(self.held or (), stored, strict=False):
            target[places] = tensor
        self.done[places] = bool(self.held)
        if on_disk:
            try:
                self.entry.append(self.ids[places], stored)
            except OSError as error:
                raise _DiskError from error
        self.computed += len(places)
        self.bar.update(len(places))


class _DiskError(Exception):
    """The disk is full or cannot be written; the cause says which."""


class _TooCoarseError(Exception):
    def __init__(self, error: float):
        super().__init__(error)
        self.error = error
