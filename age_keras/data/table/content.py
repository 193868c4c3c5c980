"""The content hash of a file, remembered so that an unchanged file is read once."""

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from age_keras.files import cache_dir

_SETTLED = 2e9  # ns; a file changed this lately could change again within one tick of the file system's clock


def content_hashes(paths: Sequence[str | Path], cache: Path | None = None) -> list[str]:
    """SHA-256 of each file, as hex; "" for a file that cannot be read.

    Args:
        paths: the files.
        cache: the folder of the memory, keyed by path and stamp: size, place on disk, and the times of the last change
            of content and of status, which no copy keeps. Defaults to `cache_dir()`.

    Returns:
        One hash a path, in order.
    """
    absolute = [os.path.abspath(path) for path in paths]
    stamps = [_stamp(path) for path in absolute]
    known = _recall(cache, absolute)
    todo = [i for i, stamp in enumerate(stamps) if stamp and known.get(absolute[i], ("",))[0] != stamp.text]
    hashes = [known[path][1] if stamps[i] and path in known else "" for i, path in enumerate(absolute)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for i, digest in zip(todo, pool.map(_sha256, (absolute[i] for i in todo)), strict=True):
            hashes[i] = digest
    now = time.time_ns()
    settled = [(i, s) for i in todo if (s := stamps[i]) and hashes[i] and now - s.changed > _SETTLED]
    _remember(cache, [(absolute[i], stamp.text, hashes[i]) for i, stamp in settled])
    return hashes


class _Stamp(NamedTuple):
    """What changes with a file's content, and when it last did, in ns."""

    text: str
    changed: int


def _stamp(path: str) -> _Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    facts = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return _Stamp(" ".join(map(str, facts)), max(status.st_mtime_ns, status.st_ctime_ns))


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _recall(cache: Path | None, paths: list[str]) -> dict[str, tuple[str, str]]:
    known = {}
    with contextlib.suppress(sqlite3.Error, OSError), _memory(cache) as memory:
        for first in range(0, len(paths), 500):
            part = paths[first : first + 500]
            marks = ",".join("?" * len(part))
            rows = memory.execute(f"SELECT path, stamp, sha256 FROM stamped WHERE path IN ({marks})", part)
            known.update({path: (stamp, sha256) for path, stamp, sha256 in rows})
    return known


def _remember(cache: Path | None, rows: list[tuple[str, str, str]]) -> None:
    if rows:
        with contextlib.suppress(sqlite3.Error, OSError), _memory(cache) as memory:
            memory.executemany("INSERT OR REPLACE INTO stamped VALUES (?, ?, ?)", rows)


@contextlib.contextmanager
def _memory(cache: Path | None):
    """The memory is a convenience: where it cannot be opened, files are simply read again."""
    folder = Path(cache) if cache else cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "content.sqlite", timeout=30)) as memory, memory:
        memory.execute("CREATE TABLE IF NOT EXISTS stamped (path TEXT PRIMARY KEY, stamp TEXT, sha256 TEXT)")
        yield memory
