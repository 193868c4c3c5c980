"""One view of the wanted rows of an entry: what is there is read, the rest computed and appended batch by batch."""

from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
from filelock import Timeout
from tqdm import tqdm

from age_keras.training.feature_entry import FeatureEntry
from age_keras.training.feature_store import rounding_error
from age_keras.training.prefix_pass import PrefixPass

MAX_ERROR = 2**-8
"""The rounding of bfloat16. A precision that keeps values worse, because they overflow, is not used."""


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

    def run(self, on_disk: bool, say: Callable[[str], None]) -> None:
        """Computes what is missing.

        Args:
            on_disk: read and append to the entry; else everything is computed into `held`.
            say: told where another process has to be waited for.

        Raises:
            DiskError: the disk is full; called again with `on_disk` false, it goes on in memory.
            TooCoarseError: the entry's precision does not hold the values.
        """
        with ExitStack() as stack:
            if on_disk and (self.entry.find(self.ids) < 0).any():
                self._lock(stack, say)
                self.entry.refresh()  # Another process may have computed them meanwhile.
            if on_disk:
                self._read()
            todo = np.flatnonzero(~self.done)
            for batch, tensors in self.work.compute(self.rows[todo], self.view):
                self._take(todo[batch], tensors, on_disk)

    def _lock(self, stack: ExitStack, say: Callable[[str], None]) -> None:
        try:
            lock = self.entry.lock()
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say("Another process computes the same features: waiting for it.")
                lock.acquire()
        except OSError as error:
            raise DiskError from error
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
