"""Features on disk: one file of rows for each entry, and an SQLite index of the rows that are whole.

    <folder>/index.sqlite    the entries and the patches of their rows
             <number>.bin    the rows of an entry, one after the other: all boundary tensors of a patch
             <name>.lock     held by the process that computes rows of an entry

Rows reach the disk before the index names them, a batch in one transaction: a process that is killed loses the batch it
was writing, and the next one writes over what it left. A number is never given twice, so rows that were found before
their entry was deleted are not looked for in the file of another. What is mapped stays readable when it is deleted.
"""

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from age_keras.errors import InputError

FOLDER = "features-2"
"""Name in the cache folder; another format has another number."""
GB = 10**9
DISK_BUDGET = 20 * GB
LIMIT = "AGE_KERAS_CACHE_GB"
"""Environment variable: how many GB of features may be kept on disk."""
TABLES = """
CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE, facts TEXT,
    row_bytes INTEGER, used REAL, kept REAL DEFAULT 0, computed REAL DEFAULT 0);
CREATE TABLE IF NOT EXISTS batches (number INTEGER REFERENCES entries ON DELETE CASCADE, first INTEGER, ids BLOB);
CREATE INDEX IF NOT EXISTS batches_of ON batches (number);
"""


@dataclass(frozen=True)
class Entry:
    """An entry on disk.

    Attributes:
        number: The number that names its file.
        name: A hash of `facts`.
        facts: Everything that decides what the features are.
        bytes: The size of its rows.
        used: When it was last used, in seconds since 1970.
        errors: The largest that whoever computed rows has measured: `kept`, by rounding, and `computed`, by computing
            in a lower precision.
    """

    number: int
    name: str
    facts: dict
    bytes: int
    used: float
    errors: dict[str, float]


@dataclass(frozen=True)
class Rows:
    """The rows of an entry as they are now.

    Attributes:
        number: The entry's number; None where there is no entry.
        ids: uint64 (n,), the patch of each row.
        array: (n,) of the entry's row dtype, mapped.
        errors: See `Entry`.
    """

    number: int | None
    ids: np.ndarray
    array: np.ndarray
    errors: Mapping[str, float]

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Where the rows of some patches are: int64, -1 where there is none."""
        slots = dict(zip(self.ids.tolist(), range(len(self.ids)), strict=True))
        return np.array([slots.get(i, -1) for i in ids.tolist()], np.int64)


class FeatureFiles:
    """Finds, adds and deletes rows. Several processes may use the same folder.

    Args:
        folder: The folder of the files; it is made when something is written.

    Attributes:
        damaged: Whether the index was damaged when it was opened. Everything in it is then forgotten.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.damaged = False
        if self._path.is_file():
            try:
                with contextlib.closing(sqlite3.connect(self._path)) as index:
                    self.damaged = index.execute("PRAGMA quick_check").fetchone() != ("ok",)
            except sqlite3.OperationalError:  # It is locked, or cannot be read: reading says so.
                pass
            except sqlite3.DatabaseError:
                self.damaged = True
        if self.damaged:
            with contextlib.suppress(OSError):
                self._path.unlink()
                self._path.with_name("index.sqlite-journal").unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """All entries, the least recently used first; none where they cannot be read."""
        with contextlib.suppress(OSError), self._index() as index:
            return self._entries(index)
        return []

    def rows(self, name: str, dtype: np.dtype) -> Rows:
        """The rows of an entry. One whose file is missing or too short, or whose index has a gap, is deleted."""
        none = Rows(None, np.zeros(0, np.uint64), np.zeros(0, dtype), {"kept": 0.0, "computed": 0.0})
        query = """SELECT number, kept, computed, first, ids FROM entries LEFT JOIN batches USING (number)
            WHERE name = ? AND row_bytes = ? ORDER BY first"""
        found = []
        with contextlib.suppress(OSError), self._index() as index:
            found = index.execute(query, (name, dtype.itemsize)).fetchall()
        if not found:
            return none
        number, kept, computed, *_ = found[0]
        ids = np.frombuffer(b"".join(batch or b"" for *_, batch in found), np.uint64)
        if not len(ids):
            return dataclasses.replace(none, number=number)
        *_, last, batch = found[-1]
        try:
            if last + len(batch) // 8 != len(ids):
                raise ValueError("A batch is missing.")
            array = np.memmap(self._file(number), dtype, "r", shape=len(ids))
        except (OSError, ValueError):
            with contextlib.suppress(OSError), self._index(write=True) as index:
                index.execute("DELETE FROM entries WHERE number = ?", (number,))
            return none
        return Rows(number, ids, array, {"kept": kept, "computed": computed})

    def lock(self, name: str) -> FileLock:
        """Held by the process that computes rows of an entry.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder / f"{name}.lock")

    def append(
        self, name: str, facts: dict, before: Rows, ids: np.ndarray, array: np.ndarray, errors: Mapping[str, float]
    ) -> Rows:
        """Adds rows behind those that were there. Only while holding `lock`.

        Args:
            name, facts: Those of the entry.
            before: What `rows` or `append` has returned.
            ids: uint64 (n,), the patches.
            array: (n,), their rows.
            errors: Their errors, see `Entry`.

        Returns:
            The rows with the new ones, mapped as `before`: call `rows` to map them all.

        Raises:
            OSError: the disk is full, or cannot be written; no row of this call counts then, all others stay.
        """
        end = len(before.ids) * array.itemsize
        number = self._new(name, facts, array.itemsize) if before.number is None else before.number
        try:
            with open(os.open(self._file(number), os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
                if os.fstat(file.fileno()).st_size < end:  # Truncating it would make rows of zeros.
                    raise FileNotFoundError(errno.ENOENT, "rows that were there have been deleted")
                file.truncate(end)  # What a killed process has left goes.
                file.seek(end)
                file.write(array.view(np.uint8).data)
                file.flush()
                os.fsync(file.fileno())
            with self._index(write=True) as index:
                index.execute(
                    "INSERT INTO batches VALUES (?, ?, ?)", (number, len(before.ids), ids.astype(np.uint64).tobytes())
                )
                index.execute(
                    "UPDATE entries SET kept = max(kept, ?), computed = max(computed, ?) WHERE number = ?",
                    (errors["kept"], errors["computed"], number),
                )
        except OSError:
            with contextlib.suppress(OSError):
                if self._file(number).stat().st_size > end:
                    os.truncate(self._file(number), end)
            raise
        errors = {key: max(value, before.errors[key]) for key, value in errors.items()}
        return Rows(number, np.concatenate([before.ids, ids.astype(np.uint64)]), before.array, errors)

    def _new(self, name: str, facts: dict, row_bytes: int) -> int:
        """An entry without rows."""
        with self._index(write=True) as index:
            index.execute("DELETE FROM entries WHERE name = ?", (name,))
            new = "INSERT INTO entries (name, facts, row_bytes, used) VALUES (?, ?, ?, ?)"
            values = name, json.dumps(facts, default=str), row_bytes, time.time()
            number = index.execute(new, values).lastrowid
        assert number is not None
        self._file(number).unlink(missing_ok=True)
        return number

    def touch(self, names: Collection[str]) -> None:
        """Notes that entries are used now, where it can be noted."""
        with contextlib.suppress(OSError), self._index(write=True) as index:
            index.executemany("UPDATE entries SET used = ? WHERE name = ?", [(time.time(), name) for name in names])

    def make_room(self, need: int, budget: int, keep: Collection[str]) -> bool:
        """Deletes the least recently used entries until `need` more bytes fit the budget and the disk.

        Args:
            need: Bytes that are going to be added.
            budget: Bytes of all entries.
            keep: Names of entries that stay; those that are being written stay as well.

        Returns:
            Whether there is room now. Nothing is deleted where there could be none.

        Raises:
            OSError: nothing can be written there.
        """
        with self._index(write=True) as index:
            entries = self._entries(index)
            numbers = {str(entry.number) for entry in entries}
            for file in self.folder.glob("*.bin"):  # Of a process that was killed while it deleted an entry.
                if file.stem not in numbers:
                    file.unlink(missing_ok=True)
            total, free = sum(entry.bytes for entry in entries), shutil.disk_usage(self.folder).free
            excess = max(total + need - budget, need - free)
            candidates = [entry for entry in entries if entry.name not in keep]
            if excess > sum(entry.bytes for entry in candidates):
                return False
            for entry in candidates:
                if excess > 0 and self._delete(index, entry):
                    excess -= entry.bytes
            return excess <= 0

    def remove(self, entry: Entry) -> bool:
        """Deletes an entry, unless a process is writing it. Returns whether it is gone."""
        with self._index(write=True) as index:
            return self._delete(index, entry)

    def default_budget(self) -> int:
        """`AGE_KERAS_CACHE_GB`; else 20 GB, and at most half of what is free, what the entries hold counted as free.

        Raises:
            InputError: `AGE_KERAS_CACHE_GB` is not a number of GB.
        """
        if chosen := os.environ.get(LIMIT):
            try:
                limit = float(chosen)
            except ValueError:
                limit = -1.0
            if not 0 <= limit < float("inf"):
                raise InputError(f"{LIMIT} must be a number of GB, at least 0. Received: {LIMIT}={chosen}.")
            return int(limit * GB)
        existing = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.exists())
        free = shutil.disk_usage(existing).free + sum(entry.bytes for entry in self.entries())
        return min(DISK_BUDGET, free // 2)

    @property
    def _path(self) -> Path:
        return self.folder / "index.sqlite"

    def _file(self, number: int) -> Path:
        return self.folder / f"{number}.bin"

    @contextlib.contextmanager
    def _index(self, write: bool = False) -> Iterator[sqlite3.Connection]:
        """The index in one transaction.

        Raises:
            OSError: there is none yet, or it cannot be read or written.
        """
        if write:
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if not write and not self._path.is_file():
                raise FileNotFoundError(errno.ENOENT, "There are no features yet")
            with contextlib.closing(sqlite3.connect(self._path, timeout=60)) as index, index:
                index.execute("PRAGMA foreign_keys = ON")
                index.execute(
                    "PRAGMA synchronous = OFF"
                )  # The rows are flushed; an index that a power cut damages goes.
                if write:
                    index.executescript(TABLES)
                    index.execute("BEGIN IMMEDIATE")
                yield index
        except sqlite3.Error as error:
            raise OSError(errno.EIO, str(error)) from error

    def _entries(self, index: sqlite3.Connection) -> list[Entry]:
        query = """SELECT number, name, facts, used, kept, computed,
            row_bytes * (SELECT COALESCE(SUM(LENGTH(ids)), 0) / 8 FROM batches WHERE batches.number = entries.number)
            FROM entries ORDER BY used"""
        return [
            Entry(number, name, json.loads(facts), size, used, {"kept": kept, "computed": computed})
            for number, name, facts, used, kept, computed, size in index.execute(query)
        ]

    def _delete(self, index: sqlite3.Connection, entry: Entry) -> bool:
        try:
            with self.lock(entry.name).acquire(timeout=0):
                index.execute("DELETE FROM entries WHERE number = ?", (entry.number,))
                self._file(entry.number).unlink(missing_ok=True)
        except (Timeout, OSError):
            return False
        return True
