"""The feature cache: what a frozen prefix makes of each patch is computed once, by whoever needs it first.

    cache = FeatureCache()
    plain = cache.features(cut, patches, keys)  # validation and test pages
    copies = cache.features(cut, patches, keys, views=range(8), policy=policy, seed=0, rows=learn)
    if copies is None:                            # no room: train plainly
        ...
    arrays = copies.gather(rows, views)           # into cut.suffix

An entry on disk holds the rows of one prefix (architecture and weights), one augmentation view, one precision. Rows are
known by their patch's key *and* pixels, and are only ever appended: folds, phases, trials and processes that need
other rows of the same entry add them, and nothing old fits a changed pixel, weight or setting.
"""

import dataclasses
import logging
import sys
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from age_keras.files import cache_dir
from age_keras.prefix.cache.entries import CacheEntries
from age_keras.prefix.cache.fill import MAX_ERROR, DiskError, Fill, TooCoarseError
from age_keras.prefix.cache.notes import CacheNotes
from age_keras.prefix.cache.room import touch
from age_keras.prefix.compute import PrefixPass, patch_identities
from age_keras.prefix.cut import CutModel
from age_keras.prefix.features import Features, View
from age_keras.prefix.halfway import Halfway
from age_keras.prefix.reduced import NotReducedError

log = logging.getLogger("age_keras")


class FeatureCache:
    """Computes, keeps and finds features.

    Args:
        directory: of the entries. Defaults to `features` in the cache folder.
        memory_budget: bytes of features that its stores may hold in memory together. Defaults to a quarter of the
            memory, shared out among workers.
        disk_budget: bytes of all entries; the least recently used go first, those that this cache has used stay.
            Defaults to `default_disk_budget`.
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
        self._entries = CacheEntries(self.directory, memory_budget, disk_budget)
        self.dtype, self.computed_in, self.progress = dtype, computed_in, progress
        self._notes = CacheNotes(say)
        self._identified: tuple = (None, None, None)

    def features(
        self,
        cut: CutModel,
        patches: np.ndarray,
        keys: np.ndarray,
        views: Sequence[int] | None = None,
        policy: keras.layers.Layer | None = None,
        seed: int = 0,
        label: str = "frozen prefix",
        rows: np.ndarray | None = None,
        start: Callable[[], Halfway | None] | None = None,
        passing: bool = False,
    ) -> Features | None:
        """The features of patches, computed where they are not yet in the cache.

        Args:
            cut: from `cut_model`, with a prefix.
            patches: uint8 (P, H, W, C).
            keys: uint64 (P,), the patches' lasting identities, which also choose the augmented copies.
            views: numbers of the augmented copies (`epoch_views`). Defaults to None: the patches as they are.
            policy: augments. With None, or one that changes nothing, all views are the patches as they are.
            seed: of the copies.
            label: what the progress bar says.
            rows: the rows that are needed. Defaults to all.
            start: gives features of a lower cut to start from; called where something has to be computed.
            passing: only to start from them. They are not held in memory, and nothing is said if they have no room.

        Returns:
            The features, or None where they fit neither in memory nor on disk.
        """
        work, numbers = self._work(cut, patches, keys, views, policy, seed)
        rows = np.arange(len(patches)) if rows is None else np.unique(rows)
        store = self._attempts(work, rows, numbers, label, start, passing)
        if store is not None and views is not None and numbers == [None]:
            store.views.update(dict.fromkeys(views, store.views[None]))
        return store

    def reserve(self, wanted: Sequence[dict], quietly: bool = False) -> bool:
        """Makes room for several sets of features, so that none is computed in vain since another has no room.

        Args:
            wanted: arguments of `features` for each.
            quietly: say nothing where there is no room.

        Returns:
            Whether there is room for all of them, in memory or on disk.
        """
        needs, totals, sets = [], [], []
        for each in wanted:
            given = {k: each.get(k) for k in ("views", "policy")} | {"seed": each.get("seed", 0)}
            work, numbers = self._work(each["cut"], each["patches"], each["keys"], **given)
            ids = self._identities(work.patches, work.keys)
            ids = ids if each.get("rows") is None else ids[np.unique(each["rows"])]
            entries = self._entries.of(work, numbers, self.dtype).values()
            needs.append(sum(entry.disk_bytes(entry.missing(ids)) for entry in entries))
            totals.append(sum(entry.bytes_per_row for entry in entries) * len(ids))
            sets.append(self._entries.name(entries, ids))
        left, only_on_disk = self._entries.memory_left, {}
        for need, total, name in zip(needs, totals, sets, strict=True):
            if total <= left:
                left -= total
            else:
                only_on_disk[name] = need
        why = self._entries.why_no_room(sum(needs))
        if why and (on_disk := sum(only_on_disk.values())) < sum(needs):
            why = self._entries.why_no_room(on_disk)
        self._entries.promised = {} if why else only_on_disk
        if why and not quietly:
            self._notes.no_disk(sum(totals), why, in_memory=False)
        return not why

    def _work(self, cut, patches, keys, views, policy, seed) -> tuple[PrefixPass, list[int | None]]:
        """What computes, and the numbers of the copies; `[None]` where all copies are the patches as they are."""
        if views is None or policy is None or getattr(policy, "is_identity", False):
            return PrefixPass(cut, patches, keys, computed_in=self.computed_in), [None]
        numbers = sorted({int(view) for view in views})
        return PrefixPass(cut, patches, keys, policy, seed, computed_in=self.computed_in), numbers

    def _attempts(self, work: PrefixPass, rows, numbers, label: str, start, passing: bool) -> Features | None:
        """In the precisions asked for; in float32 what these do not do well enough."""
        kept, computed = self.dtype, self.computed_in
        while True:
            try:
                work = dataclasses.replace(work, computed_in=computed, start=None)
                store = self._fill(work, rows, numbers, label, kept, start, passing)
            except TooCoarseError as coarse:
                self._notes.once(
                    f"Features are kept in float32: {kept} would change them by up to {coarse.error:.1e} of their "
                    f"value, more than {MAX_ERROR:.1e}."
                )
                kept = "float32"
            except NotReducedError as why:
                self._notes.once(f"The frozen layers are computed in float32 instead of {computed}: {why}.")
                computed = "float32"
            else:
                if store is not None:
                    self._notes.costs(store)
                return store

    def _fill(self, work: PrefixPass, rows, numbers, label, precision, start, passing) -> Features | None:
        entries = self._entries.of(work, numbers, precision)
        every_id = self._identities(work.patches, work.keys)
        ids = every_id[rows]
        missing = {view: int((entry.find(ids) < 0).sum()) for view, entry in entries.items()}
        total = entries[numbers[0]].bytes_per_row * len(ids) * len(entries)
        if any(entry.damaged for entry in entries.values()):
            self._notes.once("Some of the cached features were damaged, and are computed again.")
        in_memory = not passing and total <= self._entries.memory_left
        if (need := any(missing.values())) and start is not None:
            work = dataclasses.replace(work, start=start())  # It fills the cache as well: before the room is measured.
        own = sum(entry.disk_bytes(missing[view]) for view, entry in entries.items())
        why = self._entries.why_no_room(own, self._entries.name(entries.values(), ids))
        on_disk = not why
        if why and not passing:
            self._notes.no_disk(total, why, in_memory)
        if not on_disk and not in_memory:
            return None
        error, views, computed = 0.0, {}, 0
        if need and work.computed_in != "float32":
            view = next(view for view in numbers if missing[view])
            error = work.affordable_error(rows[entries[view].find(ids) < 0], view)
        kept_errors, compute_errors = [0.0], [error]
        hidden = not (self.progress and need)
        with tqdm(
            total=sum(missing.values()), desc=label, unit=" patches", disable=hidden, file=sys.stderr, leave=False
        ) as bar:
            for view, entry in entries.items():
                held = [np.empty((len(ids), *shape), entry.dtype) for shape in entry.shapes] if in_memory else None
                fill = Fill(work, view, entry, rows, ids, held, error, bar)
                try:
                    fill.run(on_disk, self._notes.once)
                except DiskError as full:
                    if not passing:
                        self._notes.no_disk(total, f"cannot be written ({full.__cause__.strerror})", in_memory)
                    if not in_memory:
                        return None
                    on_disk = False
                    fill.run(on_disk, self._notes.once)
                slots = np.full(len(every_id), -1, np.int64)
                slots[rows] = fill.slots
                views[view] = View(fill.arrays, slots)
                computed += fill.computed
                kept_errors += [fill.error, entry.errors["kept"]]
                compute_errors.append(entry.errors["computed"])
                touch(entry.folder)
        store = Features(
            work.cut.boundary,
            views,
            precision,
            error=max(kept_errors),
            in_memory=in_memory,
            computed=computed,
            computed_in=work.computed_in,
            compute_error=max(compute_errors),
        )
        if in_memory:
            self._entries.take(total)
            weakref.finalize(store, self._entries.take, -total)
        return store

    def _identities(self, patches: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Reads all pixels; once for the same arrays, if they cannot be written to."""
        before, of_keys, identities = self._identified
        if before is not patches or of_keys is not keys or patches.flags.writeable:
            identities = patch_identities(patches, keys)
            self._identified = (patches, keys, identities)
        return identities
