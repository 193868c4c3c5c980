"""One view of the wanted rows of an entry: what is there is read, the rest computed and appended batch by batch."""

import errno
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from filelock import Timeout
from tqdm import tqdm

from age_keras.prefix.cache.entry import FeatureEntry
from age_keras.prefix.compute import PrefixPass
from age_keras.prefix.features import rounding_error

MAX_ERROR = 2**-8
"""The rounding of bfloat16. A precision that keeps values worse, because they overflow, is not used."""
TRIES = 10
"""So often an entry may be deleted while it is waited for."""


class DiskError(Exception):
    """The disk is full or cannot be written; the cause says which."""


class TooCoarseError(Exception):
    """Keeping features in the entry's precision changes them by more than `MAX_ERROR`, namely by `error`."""

    def __init__(self, error: float):
        super().__init__(error)
        self.error = error


class Fill:
    """Fills one entry.

    Args:
        work: computes.
        view: which augmented copy.
        entry: where its rows are kept.
        rows, ids: of the wanted patches, and their identities.
        held: arrays in memory to fill as well, a row for each of `rows`; None where they are mapped from disk.
        compute_error: what the work's precision costs, to be recorded.
        bar: told of each patch that is computed.

    Attributes:
        arrays, slots: after `run`, the features, and where in them those of each of `rows` stand.
    """

    def __init__(
        self,
        work: PrefixPass,
        view: int | None,
        entry: FeatureEntry,
        rows: np.ndarray,
        ids: np.ndarray,
        held: list[np.ndarray] | None,
        compute_error: float,
        bar: tqdm,
    ):
        self.work, self.view, self.entry, self.rows, self.ids = work, view, entry, rows, ids
        self.held, self.compute_error, self.bar = held, compute_error, bar
        self.done = np.zeros(len(ids), bool)
        self.error, self.computed = 0.0, 0
        self.arrays, self.slots = held or [], np.arange(len(ids))

    def run(self, on_disk: bool, say: Callable[[str], None]) -> None:
        """Reads what is there, and computes what is missing.

        Args:
            on_disk: append to the entry; else what is missing is computed into `held` alone.
            say: told where another process has to be waited for.

        Raises:
            DiskError: the disk is full; called again with `on_disk` false, it goes on in memory.
            TooCoarseError: the entry's precision does not hold the values.
        """
        with ExitStack() as stack:
            if not self._read(part=False):
                if on_disk:
                    self._lock(stack, say)
                    self.entry.refresh()  # Another process may have computed them meanwhile.
                self._read(part=True)
            todo = np.flatnonzero(~self.done)
            for batch, tensors in self.work.compute(self.rows[todo], self.view):
                self._take(todo[batch], tensors, on_disk)
            if self.held is None and len(todo) and not self._read(part=False):
                raise DiskError from FileNotFoundError(errno.ENOENT, "Deleted by hand")

    def _lock(self, stack: ExitStack, say: Callable[[str], None]) -> None:
        timeout = 0
        for _ in range(TRIES):
            try:
                lock = self.entry.lock()
                lock.acquire(timeout=timeout)
            except Timeout:
                say("Another process computes the same features: waiting for it.")
                timeout = -1
            except FileNotFoundError as error:  # The entry has been deleted while it was waited for.
                gone = error
            except OSError as error:
                raise DiskError from error
            else:
                stack.callback(lock.release)
                return
        raise DiskError from gone

    def _read(self, part: bool) -> bool:
        """Takes what the entry has: a part of what is wanted, or all or nothing. Returns whether it was all."""
        slots = self.entry.find(self.ids)
        there = np.flatnonzero(slots >= 0)
        if len(there) < len(slots) and not part:
            return False
        try:
            arrays = self.entry.arrays()
        except (OSError, ValueError):  # It has been deleted meanwhile.
            return False
        for target, array in zip(self.held or (), arrays, strict=False):
            target[there] = array[slots[there]]
        self.done[there] = True
        if self.held is None:
            self.arrays, self.slots = arrays, slots
        return len(there) == len(slots)

    def _take(self, places: np.ndarray, tensors: list[np.ndarray], on_disk: bool) -> None:
        with np.errstate(over="ignore"):
            stored = [tensor.astype(self.entry.dtype) for tensor in tensors]
        self.error = max(self.error, *map(rounding_error, tensors, stored))
        if self.error > MAX_ERROR:
            raise TooCoarseError(self.error)
        for target, tensor in zip(self.held or (), stored, strict=False):
            target[places] = tensor
        self.done[places] = bool(self.held)
        if on_disk:
            try:
                self.entry.append(self.ids[places], stored, kept=self.error, computed=self.compute_error)
            except OSError as error:
                raise DiskError from error
        self.computed += len(places)
        self.bar.update(len(places))
