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
import logging
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from age_keras.files import cache_dir
from age_keras.training.cache_room import default_disk_budget, default_memory_budget, make_room, touch
from age_keras.training.feature_entry import FeatureEntry
from age_keras.training.feature_fill import MAX_ERROR, DiskError, Fill, TooCoarseError
from age_keras.training.feature_store import FeatureStore, View
from age_keras.training.halfway import Halfway
from age_keras.training.prefix import Split
from age_keras.training.prefix_pass import PrefixPass, patch_identities
from age_keras.training.reduced import NotReducedError

MAX_COMPUTE_ERROR = 2**-6
"""Features computed in a lower precision may be so far from those in float32, see `relative_error`."""
LEAST_COMPUTE_ERROR = 2**-15
"""What is nearer was computed in float32: the machine has no instructions for the lower precision."""

log = logging.getLogger("age_keras")


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
        computed_in: `float32`, which is as the model itself computes, or `bfloat16` or `float16`, faster where the
            machine has them (`reduced`). What it costs is measured on a sample of patches whenever something is
            computed; beyond `MAX_COMPUTE_ERROR`, float32 is used.
        progress: show a bar while computing.
        say: called with a sentence that the user should read, once each. Defaults to a warning in the log.
    """

    def __init__(
        self,
        directory: str | Path | None = None,
        memory_budget: int | None = None,
        disk_budget: int | None = None,
        dtype: str = "float32",
        progress: bool = True,
        say: Callable[[str], None] = log.warning,
        computed_in: str = "float32",
    ):
        for name, value in (("dtype", dtype), ("computed_in", computed_in)):
            if value not in ("float32", "float16", "bfloat16"):
                raise ValueError(f"`{name}` must be float32, float16 or bfloat16. Received: {name}={value}")
        self.directory = Path(directory) if directory else cache_dir() / "features"
        self.memory_budget = default_memory_budget() if memory_budget is None else memory_budget
        self.disk_budget = default_disk_budget(self.directory) if disk_budget is None else disk_budget
        self.dtype, self.computed_in, self.progress = dtype, computed_in, progress
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
        store = self._attempts(work, rows, numbers, label, start)
        if store is not None and views is not None and not augmented:
            store.views.update(dict.fromkeys(views, store.views[None]))
        return store

    def _attempts(self, work: PrefixPass, rows, numbers, label: str, start) -> FeatureStore | None:
        """In the precisions asked for; in float32 what these do not do well enough."""
        kept, computed = self.dtype, self.computed_in
        while True:
            try:
                work = dataclasses.replace(work, computed_in=computed, start=None)
                store = self._fill(work, rows, numbers, label, kept, start)
            except TooCoarseError as coarse:
                self._once(
                    f"Features are kept in float32: {kept} would change them by up to {coarse.error:.1e} of their "
                    f"value, more than {MAX_ERROR:.1e}."
                )
                kept = "float32"
            except NotReducedError as why:
                self._once(f"The frozen layers are computed in float32 instead of {computed}: {why}.")
                computed = "float32"
            else:
                self._tell(store)
                return store

    def _tell(self, store: FeatureStore | None) -> None:
        """What the precisions have cost, whoever paid it."""
        if store is not None and store.error:
            self._once(f"Features are kept in {store.precision}: each changes by {_percent(store.error)} of its value.")
        if store is not None and store.compute_error:
            self._once(
                f"The frozen layers are computed in {store.computed_in}: features differ from those in float32 by "
                f"{_percent(store.compute_error)} (root mean square, measured on a sample of patches)."
            )

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
        error = self._compute_error(work, rows, ids, entries) if need and work.computed_in != "float32" else 0.0
        views, computed = {}, 0
        kept_errors, compute_errors = [0.0], [error]
        hidden = not (self.progress and need)
        with tqdm(
            total=sum(missing.values()), desc=label, unit=" patches", disable=hidden, file=sys.stderr, leave=False
        ) as bar:
            for view, entry in entries.items():
                held = [np.empty((len(ids), *shape), entry.dtype) for shape in entry.shapes] if in_memory else None
                fill = Fill(work, view, entry, rows, ids, held, error, bar)
                try:
                    fill.run(on_disk, self._once)
                except DiskError as full:
                    shutil.rmtree(entry.folder, ignore_errors=True)
                    if not self._without_disk(total, in_memory, f"cannot be written ({full.__cause__.strerror})"):
                        return None
                    on_disk = False
                    fill.run(on_disk, self._once)
                slots = np.full(len(every_id), -1, np.int64)
                slots[rows] = np.arange(len(ids)) if in_memory else entry.find(ids)
                views[view] = View(held or entry.arrays(), slots)
                computed += fill.computed
                kept_errors += [fill.error, entry.errors["kept"]]
                compute_errors.append(entry.errors["computed"])
                touch(entry.folder)
        errors = {"error": max(kept_errors), "compute_error": max(compute_errors)}
        return FeatureStore(
            work.split.boundary,
            views,
            precision,
            in_memory=in_memory,
            computed=computed,
            computed_in=work.computed_in,
            **errors,
        )

    def _compute_error(self, work: PrefixPass, rows, ids, entries) -> float:
        """What the precision of the work costs.

        Raises:
            NotReducedError: too much, or nothing, because the machine cannot do it.
        """
        missing = {view: rows[entry.find(ids) < 0] for view, entry in entries.items()}
        view = next(view for view, places in missing.items() if len(places))
        error = work.compute_error(missing[view], view)
        if error < LEAST_COMPUTE_ERROR:
            raise NotReducedError("this machine does not have it")
        if not error <= MAX_COMPUTE_ERROR:
            raise NotReducedError(f"it would change their features by more than {100 * MAX_COMPUTE_ERROR:.1f} %")
        name, precision = work.split.model.name, work.computed_in
        log.warning("%s, frozen layers in %s: features differ by %.2g (root mean square).", name, precision, error)
        return error

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


def _percent(error: float) -> str:
    """Rounded up to a figure or two, so that the parts of a run say nearly the same."""
    unit = min(0.1, 10.0 ** math.floor(math.log10(100 * error)))
    return f"at most {math.ceil(100 * error / unit) * unit:g} %"
