"""One entry of the feature cache on disk: rows that are appended, each whole or not there.

    <entry>/entry.json     what the rows are, and how far they are from exact ones
            tensor0.bin    the rows of the first boundary tensor, one after the other; tensor1.bin ...
            index.bin      of each row: the identity of its patch, and a checksum of its features

A row counts once its record stands in the index, which is written after its features: a process that is killed leaves
no half row, and the next one goes on behind the last whole one. Files are written with `write`, not through a memory
map, so that a full disk is an error and not a crash.
"""

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from age_keras.files import write_json

RECORD = np.dtype([("id", "<u8"), ("checksum", "<u4")])
VERSION = 2


class FeatureEntry:
    """The features of many patches under one prefix, augmentation view and precision.

    Args:
        folder: of the entry; made by the first `append`.
        shapes: of one row of each boundary tensor.
        dtype: in which the rows are stored.
        facts: what to say of the entry in `entry.json`.

    Attributes:
        errors: the largest that whoever computed rows has measured: `kept`, by rounding to `dtype`, and `computed`, by
            computing in a lower precision.
    """

    def __init__(self, folder: Path, shapes: Sequence[tuple[int, ...]], dtype: np.dtype, facts: dict):
        self.folder, self.shapes, self.dtype, self.facts = folder, [tuple(s) for s in shapes], np.dtype(dtype), facts
        self.row_bytes = [int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize for shape in self.shapes]
        self.damaged = 0
        self.errors = {"kept": 0.0, "computed": 0.0}
        self._slots: dict[int, int] = {}
        self._checked: set[int] = set()
        self._records = 0
        self._checksums = np.zeros(0, np.uint32)
        self.refresh()

    @property
    def bytes_per_row(self) -> int:
        return sum(self.row_bytes)

    def lock(self) -> FileLock:
        """Held by the process that computes rows of this entry."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / "lock")

    def refresh(self) -> None:
        """Reads what has been appended, by other processes too; forgets rows whose files do not reach that far."""
        before = self._checksums
        self._slots, self._records, self._checksums = {}, 0, np.zeros(0, np.uint32)
        try:
            facts = json.loads((self.folder / "entry.json").read_text(encoding="utf-8"))
            index = np.frombuffer((self.folder / "index.bin").read_bytes()[: self._index_bytes()], RECORD)
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            self.damaged += 1
            return
        known = facts.get("version") == VERSION and set(facts.get("errors", ())) == set(self.errors)
        if not known or facts.get("shapes") != [list(s) for s in self.shapes]:
            self.damaged += 1
            return
        held = [self._tensor(i).stat().st_size // size for i, size in enumerate(self.row_bytes) if self._exists(i)]
        rows = min([len(index), *held]) if len(held) == len(self.row_bytes) else 0
        self.damaged += len(index) - rows
        self.errors = {name: max(error, facts["errors"][name]) for name, error in self.errors.items()}
        self._records = rows
        self._checksums = index["checksum"][:rows]
        same = min(rows, len(before))
        changed = set(np.flatnonzero(before[:same] != self._checksums[:same]).tolist())
        self._checked = {slot for slot in self._checked if slot < same and slot not in changed}
        self._slots = dict(zip(index["id"][:rows].tolist(), range(rows), strict=True))

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Where the rows of some patches are: int64, -1 where there is none. Reads each row once to check it."""
        slots = np.array([self._slots.get(i, -1) for i in ids.tolist()], np.int64)
        unchecked = sorted({s for s in slots.tolist() if s >= 0} - self._checked)
        if unchecked:
            maps = self.arrays()
            for slot in unchecked:
                if _checksum([array[slot] for array in maps]) == self._checksums[slot]:
                    self._checked.add(slot)
                else:
                    self.damaged += 1
                    slots[slots == slot] = -1
            bad = set(unchecked) - self._checked
            self._slots = {i: s for i, s in self._slots.items() if s not in bad}
        return slots

    def append(self, ids: np.ndarray, tensors: Sequence[np.ndarray], kept: float = 0.0, computed: float = 0.0) -> None:
        """Adds rows. Only while holding `lock`, after `refresh`.

        Args:
            ids: uint64 (n,), the identities of their patches.
            tensors: (n, *shape) each.
            kept, computed: their errors, see `errors`.

        Raises:
            OSError: the disk is full, or cannot be written; no row of this call counts then.
        """
        errors = {"kept": max(kept, self.errors["kept"]), "computed": max(computed, self.errors["computed"])}
        if not (self.folder / "entry.json").exists() or self._records == 0 or errors != self.errors:
            facts = {"version": VERSION, "shapes": self.shapes, "dtype": self.dtype.name, "errors": errors}
            write_json(self.folder / "entry.json", {**facts, **self.facts})
            self.errors = errors
        tensors = [np.ascontiguousarray(tensor, self.dtype) for tensor in tensors]
        for i, (tensor, size) in enumerate(zip(tensors, self.row_bytes, strict=True)):
            _write_at(self._tensor(i), self._records * size, tensor.tobytes())
        records = np.zeros(len(ids), RECORD)
        records["id"] = ids
        records["checksum"] = [_checksum([tensor[i] for tensor in tensors]) for i in range(len(ids))]
        _write_at(self.folder / "index.bin", self._records * RECORD.itemsize, records.tobytes())
        first = self._records
        self._records += len(ids)
        self._checksums = np.concatenate([self._checksums[:first], records["checksum"]])
        self._slots.update(zip(ids.tolist(), range(first, self._records), strict=True))
        self._checked.update(range(first, self._records))

    def arrays(self) -> list[np.ndarray]:
        """Memory maps of all rows, (rows, *shape) each."""
        if not self._records:
            return [np.zeros((0, *shape), self.dtype) for shape in self.shapes]
        return [
            np.memmap(self._tensor(i), np.uint8, "r", shape=(self._records * size,))
            .view(self.dtype)
            .reshape(self._records, *shape)
            for i, (shape, size) in enumerate(zip(self.shapes, self.row_bytes, strict=True))
        ]

    def _tensor(self, i: int) -> Path:
        return self.folder / f"tensor{i}.bin"

    def _exists(self, i: int) -> bool:
        return self._tensor(i).exists()

    def _index_bytes(self) -> int:
        size = (self.folder / "index.bin").stat().st_size
        return size - size % RECORD.itemsize


def _checksum(rows: Sequence[np.ndarray]) -> int:
    value = 0
    for row in rows:
        value = zlib.crc32(np.ascontiguousarray(row).view(np.uint8), value)
    return value


def _write_at(path: Path, offset: int, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        view = memoryview(data)
        os.lseek(descriptor, offset, os.SEEK_SET)
        while view:
            view = view[os.write(descriptor, view) :]
        os.truncate(descriptor, offset + len(data))  # What a killed process left behind goes.
    finally:
        os.close(descriptor)
