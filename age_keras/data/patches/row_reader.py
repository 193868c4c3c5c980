"""Rows of an array on disk, read without its pages counting as this process's memory."""

import io
import mmap
import os
from typing import Any

import numpy as np


class RowReader:
    """Reads rows of an array; of a memory map by `preadv`, straight from the file into the batch.

    What is read through a memory map stays in the process's resident memory until the system takes it back: after an
    epoch that is the whole store. Reading with `preadv` leaves it in the system's file cache alone, takes no page
    faults, and lets other threads run. Other arrays, and views of memory maps, are indexed as usual.

    Args:
        array: (P, ...), an array or a memory map of a whole file or of its end (`np.load(..., mmap_mode="r")`).

    Call arguments:
        rows: Int (B,), in any order.

    Returns:
        A new array (B, ...).
    """

    def __init__(self, array: np.ndarray):
        memory: Any = array  # Where it is a memory map, it knows its file.
        self.array = memory
        self._file: Any = None
        whole = isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap) and array.flags.c_contiguous
        if whole and memory.filename and hasattr(os, "preadv"):
            self._file = io.FileIO(memory.filename)  # Closed with this object.

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *self.array.shape[1:]), self.array.dtype)
        for place in np.argsort(rows, kind="stable"):  # In the order in which they lie on disk.
            if self._file is None:
                out[place] = self.array[rows[place]]
            else:
                self._read(int(rows[place]), out[place : place + 1])
        return out

    def _read(self, row: int, target: Any) -> None:
        buffer = memoryview(target).cast("B")
        start, done = self.array.offset + row * len(buffer), 0
        while done < len(buffer):
            count = os.preadv(self._file.fileno(), [buffer[done:]], start + done)
            if count == 0:
                raise OSError(f"{self.array.filename} ends before row {row}; it was cut short while in use.")
            done += count
