"""The feature cache: what a frozen prefix makes of each patch is computed once, by whoever needs it first.

    cache = FeatureCache()
    copies = cache.features(cut, patches, keys, views=range(8), policy=policy, seed=0, rows=learn)
    if copies is not None:                      # else there is no room: train plainly
        arrays = copies.gather(rows, views)     # into cut.suffix

An entry on disk holds the rows of one prefix (architecture and weights), one augmentation view, one precision. Rows are
known by their patch's key *and* pixels, and are only ever appended: folds, phases, trials and processes that need
other rows of the same entry add them, and nothing old fits a changed pixel, weight or setting.
"""

import dataclasses
import errno
import hashlib
import json
import logging
import math
import os
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from filelock import Timeout
from tqdm import tqdm

from age_keras.files import cache_dir
from age_keras.prefix.compute import BATCH, Below, PrefixPass, Wanted, patch_identities
from age_keras.prefix.cut import CutModel, between
from age_keras.prefix.feature_files import FOLDER, LIMIT, FeatureFiles
from age_keras.prefix.features import Features, View, rounding_error
from age_keras.prefix.low_precision import LowPrecisionError

MAX_ERROR = 2**-8
"""The rounding of bfloat16. A precision that keeps values worse, because they overflow, is not used."""
NO_ROOM = f"do not fit the cache's limit (set by {LIMIT}) or the disk"
WORKERS = "AGE_KERAS_WORKERS"
"""Environment variable, set for a training's processes: how many of them share this machine's memory."""

log = logging.getLogger("age_keras")


class _TooCoarseError(Exception):
    """Keeping features in a precision changes them by more than `MAX_ERROR`."""


class _DiskError(Exception):
    """The disk is full or cannot be written; the cause says which."""


@dataclass(frozen=True, eq=False)
class _Set:
    """One set of features: some rows of the entries of some views.

    Attributes:
        work: What computes them.
        rows, ids: The wanted patches, and their identities.
        entries: Name and facts of each view's entry.
        dtype: A row of an entry.
        missing: Bytes that are not on disk yet.
    """

    work: PrefixPass
    rows: np.ndarray
    ids: np.ndarray
    entries: dict[int | None, tuple[str, dict]]
    dtype: np.dtype
    missing: int

    @property
    def bytes(self) -> int:
        return self.dtype.itemsize * len(self.ids) * len(self.entries)


class FeatureCache:
    """Computes, keeps and finds features.

    Args:
        directory: The folder of the entries. Defaults to one in the cache folder.
        memory_budget: Bytes of features that may be held in memory together. Defaults to a quarter of the machine's
            memory, divided among its workers.
        disk_budget: Bytes of all entries; the least recently used are deleted first, those that this cache has used
            stay. Defaults to `FeatureFiles.default_budget`.
        dtype: How features are kept: `float32`, `float16` or `bfloat16`. They are returned in the boundary's dtype.
            A dtype that changes a feature by more than `MAX_ERROR` (see `rounding_error`) is replaced by float32.
            Defaults to `float32`.
        progress: Whether to show a bar while computing. Defaults to True.
        say: Called once with each sentence that the user should read. Defaults to a warning in the log.
        computed_in: How the prefix computes: `float32`, as the model itself does, or `bfloat16` or `float16`, faster
            where the machine has them (`low_precision`). The error is measured on a sample of patches whenever
            something is computed; beyond `MAX_COMPUTE_ERROR`, float32 is used. Defaults to `float32`.
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
        self.files = FeatureFiles(Path(directory) if directory else cache_dir() / FOLDER)
        self.dtype, self.computed_in, self.progress = dtype, computed_in, progress
        self._memory_left = default_memory_budget() if memory_budget is None else memory_budget
        self._disk_budget = self.files.default_budget() if disk_budget is None else disk_budget
        self._used: set[str] = set()
        self._say, self._said = say, set()
        self._identified: tuple = (None, None, None)
        if self.files.damaged:
            self._once("The index of the cached features was damaged: they are computed again.")

    def features(
        self, cut: CutModel, patches: np.ndarray, keys: np.ndarray, label: str = "frozen prefix", **wanted
    ) -> Features | None:
        """The features of some patches, see `together`; None where they fit neither in memory nor on disk.

        Args:
            cut, patches, keys, **wanted: Attributes of `Wanted`.
            label: What the progress bar says.
        """
        found = self.together([Wanted(cut, patches, keys, **wanted)], label=label)
        return found[0] if found else None

    def together(
        self, wanted: Sequence[Wanted], below: Sequence[Wanted] = (), label: str = "frozen prefix"
    ) -> list[Features] | None:
        """Several sets of features, computed where they are not yet in the cache: all of them, or none.

        Room is made for all before any is computed. What does not fit the memory has the disk first; what does is
        written there as well if there is room left, so that others find it.

        Args:
            wanted: The sets.
            below: The same sets at a lower cut of the same model, which will be wanted next: where there is room, they
                are computed first and `wanted` from them, so that the pixels pass through the network once.
            label: What the progress bar says.

        Returns:
            The features of each, or None where there is no room.
        """
        while True:
            try:
                found = self._attempt(wanted, below, label)
            except _TooCoarseError as coarse:
                self._once(f"Features are kept in float32: {self.dtype} would change them by {coarse}.")
                self.dtype = "float32"
            except LowPrecisionError as why:
                self._once(f"The frozen layers are computed in float32 instead of {self.computed_in}: {why}.")
                self.computed_in = "float32"
            else:
                for each in found or ():
                    self._say_errors(each)
                return found

    def _attempt(self, wanted: Sequence[Wanted], below: Sequence[Wanted], label: str) -> list[Features] | None:
        sets = [self._set(each) for each in wanted]
        in_memory, left = [], self._memory_left
        for each in sets:
            in_memory.append(each.bytes <= left)
            left -= each.bytes if in_memory[-1] else 0
        needed = sum(each.missing for each, held in zip(sets, in_memory, strict=True) if not held)
        starts = self._below(sets, wanted, below, label)
        if why := self._no_room(needed):
            self._say_no_disk(sum(each.bytes for each in sets), why, in_memory=False)
            return None
        on_disk = []
        for each, held in zip(sets, in_memory, strict=True):
            why = self._no_room(needed + each.missing) if held else ""
            needed += each.missing if held and not why else 0
            on_disk.append(not why)
            if why:
                self._say_no_disk(each.bytes, why, in_memory=True)
        found = []
        for each, held, disk, start in zip(sets, in_memory, on_disk, starts, strict=True):
            if start is not None:
                each = dataclasses.replace(each, work=dataclasses.replace(each.work, below=start))
            try:
                features = self._fill(each, held, disk, label)
            except _DiskError as error:
                self._say_no_disk(each.bytes, _cannot(error.__cause__), in_memory=False)
                return None
            if None in features.views:
                features.views.update(dict.fromkeys(each.work.wanted.views or (), features.views[None]))
            found.append(features)
        return found

    def _set(self, wanted: Wanted) -> _Set:
        work = PrefixPass(wanted, computed_in=self.computed_in)
        rows = np.arange(len(wanted.patches)) if wanted.rows is None else np.unique(wanted.rows)
        ids = self._identities(wanted.patches, wanted.keys)[rows]
        numpy_dtype = tf.as_dtype(self.dtype).as_numpy_dtype
        dtype = np.dtype([(str(i), numpy_dtype, tensor.shape) for i, tensor in enumerate(wanted.cut.boundary)])
        entries, missing = {}, 0
        for view in wanted.numbers:
            facts = {**work.facts, "view": view, "precision": self.dtype}
            name = hashlib.sha256(json.dumps(facts, sort_keys=True, default=repr).encode()).hexdigest()[:32]
            entries[view] = (name, facts)
            missing += int((self.files.rows(name, dtype).find(ids) < 0).sum()) * dtype.itemsize
        self._used.update(name for name, _ in entries.values())
        return _Set(work, rows, ids, entries, dtype, missing)

    def _below(self, sets: Sequence[_Set], wanted: Sequence[Wanted], below: Sequence[Wanted], label: str) -> list:
        """Where each of some sets starts from: features of a lower cut, or None for the pixels."""
        starts: list[Below | None] = [None] * len(sets)
        # From rounded features others would be made than from the pixels.
        onward = between(below[0].cut, wanted[0].cut) if below and self.dtype == "float32" else None
        if onward is None:
            return starts
        lower = [self._set(each) for each in below]
        if self._no_room(sum(each.missing for each in (*sets, *lower))):
            return starts
        for i, each in enumerate(lower):
            if sets[i].missing:
                try:
                    starts[i] = Below(self._fill(each, in_memory=False, on_disk=True, label=label), onward)
                except _DiskError:
                    break
        return starts

    def _no_room(self, need: int) -> str:
        """Makes room for so many bytes on disk. Returns why there is none; nothing where there is."""
        try:
            there = not need or self.files.make_room(need, self._disk_budget, self._used)
        except OSError as error:
            return _cannot(error)
        return "" if there else NO_ROOM

    def _fill(self, wanted: _Set, in_memory: bool, on_disk: bool, label: str) -> Features:
        """Finds or computes a set.

        Raises:
            _DiskError: nothing can be written, and the set does not fit the memory.
            _TooCoarseError, LowPrecisionError: a precision is not good enough.
        """
        work, views, computed, hidden = wanted.work, {}, 0, not (self.progress and wanted.missing)
        errors = {"kept": 0.0, "computed": 0.0}
        if wanted.missing and work.computed_in != "float32":
            errors["computed"] = work.affordable_error(wanted.rows, next(iter(wanted.entries)))
        patches = wanted.missing // wanted.dtype.itemsize
        with tqdm(total=patches, desc=label, unit=" patches", disable=hidden, file=sys.stderr, leave=False) as bar:
            for view in wanted.entries:
                array, found, count = self._fill_view(wanted, view, in_memory, on_disk, errors, bar)
                slots = np.full(len(work.wanted.patches), -1, np.int64)
                slots[wanted.rows] = found
                views[view] = View([array[name] for name in wanted.dtype.names or ()], slots)
                computed += count
        self.files.touch([name for name, _ in wanted.entries.values()])
        features = Features(
            work.wanted.cut.boundary,
            views,
            self.dtype,
            error=errors["kept"],
            in_memory=in_memory,
            computed=computed,
            computed_in=work.computed_in,
            compute_error=errors["computed"],
        )
        if in_memory:
            self._take(wanted.bytes)
            weakref.finalize(features, self._take, -wanted.bytes)
        return features

    def _fill_view(
        self, wanted: _Set, view: int | None, in_memory: bool, on_disk: bool, errors: dict[str, float], bar: tqdm
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """One view: what is on disk is read, the rest is computed and added batch by batch.

        Returns:
            The rows, where in them the wanted patches are, and how many were computed. `errors` grows with theirs.
        """
        name, facts = wanted.entries[view]
        held = np.empty(len(wanted.ids), wanted.dtype) if in_memory else None
        rows = self.files.rows(name, wanted.dtype)
        slots = rows.find(wanted.ids)

        def failed(error: OSError) -> bool:
            if held is None:
                raise _DiskError from error
            self._say_no_disk(wanted.bytes, _cannot(error), in_memory=True)
            return False

        with ExitStack() as stack:
            if on_disk and (slots < 0).any():
                try:
                    stack.enter_context(self._locked(name))
                except OSError as error:
                    on_disk = failed(error)
                rows = self.files.rows(name, wanted.dtype)  # Another process may have computed them meanwhile.
                slots = rows.find(wanted.ids)
            there, todo = np.flatnonzero(slots >= 0), np.flatnonzero(slots < 0)
            if held is not None:
                for first in range(0, len(there), BATCH):  # Not all at once: that would take the memory twice.
                    part = there[first : first + BATCH]
                    held[part] = rows.array[slots[part]]
            for batch, tensors in wanted.work.compute(wanted.rows[todo], view):
                packed, kept = _packed(tensors, wanted.dtype)
                errors["kept"] = max(errors["kept"], kept)
                if held is not None:
                    held[todo[batch]] = packed
                if on_disk:
                    try:
                        ids, costs = wanted.ids[todo[batch]], {"kept": kept, "computed": errors["computed"]}
                        rows = self.files.append(name, facts, rows, ids, packed, costs)
                    except OSError as error:
                        on_disk = failed(error)
                bar.update(len(batch))
            if held is None and len(todo):
                rows = self.files.rows(name, wanted.dtype)  # While nobody can delete them.
        for key, lost in rows.errors.items():
            errors[key] = max(errors[key], lost)
        if held is not None:
            return held, np.arange(len(held)), len(todo)
        slots = rows.find(wanted.ids)
        if (slots < 0).any():
            raise _DiskError from FileNotFoundError(errno.ENOENT, "they have been deleted")
        return rows.array, slots, len(todo)

    def _locked(self, name: str) -> AbstractContextManager:
        lock = self.files.lock(name)
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            self._once("Another process is computing the same features: waiting for it.")
            return lock.acquire()

    def _identities(self, patches: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Reads all pixels; once for the same arrays, if they cannot be written to."""
        before, of_keys, identities = self._identified
        if before is not patches or of_keys is not keys or patches.flags.writeable:
            identities = patch_identities(patches, keys)
            self._identified = (patches, keys, identities)
        return identities

    def _take(self, memory: int) -> None:
        """Takes bytes of the memory's budget; with a number below zero, gives them back."""
        self._memory_left -= memory

    def _once(self, sentence: str) -> None:
        """Says it, unless it has been said."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)

    def _say_errors(self, features: Features) -> None:
        """What the precisions have cost, whoever computed the features."""
        if features.error:
            self._once(
                f"Features are kept in {features.precision}: each changes by {_percent(features.error)} of its value."
            )
        if features.compute_error:
            self._once(
                f"The frozen layers are computed in {features.computed_in}: features differ from those in float32 by "
                f"{_percent(features.compute_error)} (root mean square, measured on a sample of patches)."
            )

    def _say_no_disk(self, total: int, why: str, in_memory: bool) -> None:
        """What is done instead of keeping features on disk."""
        instead = "are kept in memory for this run" if in_memory else "are not used: the whole network runs every epoch"
        self._once(f"{total / 1e9:.1f} GB of features {why}: they {instead}.")


def default_memory_budget() -> int:
    """A quarter of the machine's memory, in bytes, divided among its workers; of 8 GB where it is not known."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        memory = 8 * 10**9
    return memory // 4 // max(1, int(os.environ.get(WORKERS, 1)))


def _packed(tensors: Sequence[np.ndarray], dtype: np.dtype) -> tuple[np.ndarray, float]:
    """A batch as rows of an entry, and the largest error of keeping it so.

    Raises:
        _TooCoarseError: that is more than `MAX_ERROR`.
    """
    packed, error = np.empty(len(tensors[0]), dtype), 0.0
    for name, tensor in zip(dtype.names or (), tensors, strict=True):
        with np.errstate(over="ignore"):
            packed[name] = tensor
        error = max(error, rounding_error(tensor, packed[name]))
    if error > MAX_ERROR:
        raise _TooCoarseError(f"up to {error:.1e} of their value, more than {MAX_ERROR:.1e}")
    return packed, error


def _cannot(error: BaseException | None) -> str:
    return f"cannot be written ({getattr(error, 'strerror', error)})"


def _percent(error: float) -> str:
    """Rounded up to a figure or two, so that the parts of a run say nearly the same."""
    unit = min(0.1, 10.0 ** math.floor(math.log10(100 * error)))
    return f"at most {math.ceil(100 * error / unit) * unit:g} %"
