"""One entry of the feature cache on disk: rows that are appended, each whole or not there.

    <entry>/entry.json     what the rows are, and how far they are from exact ones
            tensor0.bin    the rows of the first boundary tensor, one after the other; tensor1.bin ...
            index.bin      of each row: the identity of its patch, and a checksum of it and the features

A row counts once its record stands in the index, which is written after its features: a process that is killed leaves
no half row, and the next one goes on behind the last whole one. Files are written with `write`, not through a memory
map, so that a full disk is an error and not a crash. What is mapped stays readable when the entry is deleted.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from age_keras.files import write_json

RECORD = np.dtype([("id", "<u8"), ("checksum", "<u4")])
VERSION = 3


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
        self._checked: set[int] = set()
        self._forget()
        self.refresh()

    @property
    def bytes_per_row(self) -> int:
        return sum(self.row_bytes)

    def disk_bytes(self, rows: int) -> int:
        """What so many more rows will take on disk."""
        facts = (
            0 if self._records or not rows else len(json.dumps(self._facts(self.errors), indent=2, default=str)) + 64
        )
        return rows * (self.bytes_per_row + RECORD.itemsize) + facts

    def lock(self) -> FileLock:
        """Held by the process that computes rows of this entry."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / "lock")

    def refresh(self) -> None:
        """Reads what has been appended, by other processes too; forgets rows whose files do not reach that far."""
        before = self._checksums
        self._forget()
        try:
            facts = json.loads((self.folder / "entry.json").read_text(encoding="utf-8"))
            if not self._fits(facts):
                raise ValueError(facts)
            index = np.frombuffer((self.folder / "index.bin").read_bytes()[: self._index_bytes()], RECORD)
        except (OSError, ValueError):
            # The index is made before `entry.json`: where that stands alone, it has been deleted.
            self.damaged += (self.folder / "entry.json").exists()
            return
        rows = min([len(index), *(_size(self._tensor(i)) // size for i, size in enumerate(self.row_bytes))])
        self.damaged += len(index) - rows
        self.errors = {name: max(error, facts["errors"][name]) for name, error in self.errors.items()}
        self._records = rows
        self._checksums = index["checksum"][:rows]
        same = min(rows, len(before))
        changed = set(np.flatnonzero(before[:same] != self._checksums[:same]).tolist())
        self._checked = {slot for slot in self._checked if slot < same and slot not in changed}
        self._slots = dict(zip(index["id"][:rows].tolist(), range(rows), strict=True))

    def missing(self, ids: np.ndarray) -> int:
        """How many patches the index does not name; reads no row."""
        return sum(i not in self._slots for i in ids.tolist())

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Where the rows of some patches are: int64, -1 where there is none. Reads each row once to check it."""
        for _ in range(2):
            try:
                self._check(ids.tolist())
                break
            except (OSError, ValueError):  # It has been deleted since it was read, and perhaps made anew.
                self.refresh()
        else:
            self._forget()
        return np.array([self._slots.get(i, -1) for i in ids.tolist()], np.int64)

    def _check(self, ids: list[int]) -> None:
        """Forgets rows that are not what was written; where some are missing, the index may be: it is checked whole."""
        whole = any(i not in self._slots for i in ids)
        named = self._slots if whole else {i: self._slots[i] for i in ids}
        unchecked = {slot: i for i, slot in named.items() if slot not in self._checked}
        if not unchecked:
            return
        maps = self.arrays()
        good = {s for s, i in unchecked.items() if _checksum(i, [array[s] for array in maps]) == self._checksums[s]}
        self._checked |= good
        bad = unchecked.keys() - good
        self.damaged += len(bad)
        self._slots = {i: s for i, s in self._slots.items() if s not in bad}
        if not self._slots:
            self._forget()

    def append(self, ids: np.ndarray, tensors: Sequence[np.ndarray], kept: float = 0.0, computed: float = 0.0) -> None:
        """Adds rows. Only while holding `lock`, after `refresh`.

        Args:
            ids: uint64 (n,), the identities of their patches.
            tensors: (n, *shape) each.
            kept, computed: their errors, see `errors`.

        Raises:
            OSError: the disk is full, or cannot be written; no row of this call counts then, all others stay.
        """
        try:
            self._append(ids, tensors, kept, computed)
        except OSError:
            for i, size in enumerate(self.row_bytes):
                _cut(self._tensor(i), self._records * size)
            _cut(self.folder / "index.bin", self._records * RECORD.itemsize)
            raise

    def _append(self, ids: np.ndarray, tensors: Sequence[np.ndarray], kept: float, computed: float) -> None:
        errors = {"kept": max(kept, self.errors["kept"]), "computed": max(computed, self.errors["computed"])}
        if not (self.folder / "entry.json").exists() or self._records == 0 or errors != self.errors:
            if not self._records:
                (self.folder / "index.bin").write_bytes(b"")
                for i in range(len(self.row_bytes)):
                    self._tensor(i).unlink(missing_ok=True)  # Damaged; who has mapped it keeps it.
            write_json(self.folder / "entry.json", self._facts(errors))
            self.errors = errors
        tensors = [np.ascontiguousarray(tensor, self.dtype) for tensor in tensors]
        for i, (tensor, size) in enumerate(zip(tensors, self.row_bytes, strict=True)):
            _write_at(self._tensor(i), self._records * size, tensor.tobytes())
        records = np.zeros(len(ids), RECORD)
        records["id"] = ids
        records["checksum"] = [_checksum(name, [x[i] for x in tensors]) for i, name in enumerate(ids.tolist())]
        _write_at(self.folder / "index.bin", self._records * RECORD.itemsize, records.tobytes())
        first, self._maps = self._records, None
        self._records += len(ids)
        self._checksums = np.concatenate([self._checksums[:first], records["checksum"]])
        self._slots.update(zip(ids.tolist(), range(first, self._records), strict=True))
        self._checked.update(range(first, self._records))

    def arrays(self) -> list[np.ndarray]:
        """Memory maps of all rows, (rows, *shape) each.

        Raises:
            OSError, ValueError: the entry has been deleted or cut since it was read.
        """
        if not self._records:
            return [np.zeros((0, *shape), self.dtype) for shape in self.shapes]
        if self._maps is None:
            self._maps = [
                np.memmap(self._tensor(i), np.uint8, "r", shape=(self._records * size,))
                .view(self.dtype)
                .reshape(self._records, *shape)
                for i, (shape, size) in enumerate(zip(self.shapes, self.row_bytes, strict=True))
            ]
        return self._maps

    def _forget(self) -> None:
        self._slots: dict[int, int] = {}
        self._records, self._checksums = 0, np.zeros(0, np.uint32)
        self._maps: list[np.ndarray] | None = None

    def _facts(self, errors: dict[str, float]) -> dict:
        own = {"version": VERSION, "shapes": self.shapes, "dtype": self.dtype.name, "errors": errors}
        return {**own, **self.facts}

    def _fits(self, facts) -> bool:
        """Whether `entry.json` is of such an entry, and whole."""
        if not isinstance(facts, dict) or not isinstance(facts.get("errors"), dict):
            return False
        errors = facts["errors"]
        known = errors.keys() == self.errors.keys() and all(isinstance(e, int | float) for e in errors.values())
        return known and facts.get("version") == VERSION and facts.get("shapes") == [list(s) for s in self.shapes]

    def _tensor(self, i: int) -> Path:
        return self.folder / f"tensor{i}.bin"

    def _index_bytes(self) -> int:
        size = (self.folder / "index.bin").stat().st_size
        return size - size % RECORD.itemsize


def _checksum(identity: int, rows: Sequence[np.ndarray]) -> int:
    value = zlib.crc32(identity.to_bytes(8, "little"))
    for row in rows:
        value = zlib.crc32(np.ascontiguousarray(row).view(np.uint8), value)
    return value


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _cut(path: Path, size: int) -> None:
    """Takes away what has been written behind the last whole row."""
    with contextlib.suppress(OSError):
        if _size(path) > size:
            os.truncate(path, size)


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
