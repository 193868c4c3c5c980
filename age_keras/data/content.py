"""The content hash of a file, remembered so that an unchanged file is read once."""

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from age_keras.files import cache_dir

_SETTLED = 2e9  # ns; a file changed this lately could change again within one tick of the file system's clock


def content_hashes(paths: Sequence[str | Path], cache: Path | None = None) -> list[str]:
    """SHA-256 of each file, as hex; "" for a file that cannot be read.

    Args:
        paths: the files.
        cache: the folder of the memory, keyed by path, size and time of change. Defaults to `cache_dir()`.

    Returns:
        One hash a path, in order.
    """
    absolute = [os.path.abspath(path) for path in paths]
    stamps = [_stamp(path) for path in absolute]
    known = _recall(cache, absolute)
    todo = [i for i, path in enumerate(absolute) if stamps[i] and known.get(path, (None,))[:2] != stamps[i]]
    hashes = [known[path][2] if stamps[i] and path in known else "" for i, path in enumerate(absolute)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for i, digest in zip(todo, pool.map(_sha256, (absolute[i] for i in todo)), strict=True):
            hashes[i] = digest
    now = time.time_ns()
    settled = [i for i in todo if hashes[i] and now - stamps[i][1] > _SETTLED]
    _remember(cache, [(absolute[i], *stamps[i], hashes[i]) for i in settled])
    return hashes


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _recall(cache: Path | None, paths: list[str]) -> dict[str, tuple[int, int, str]]:
    known = {}
    with contextlib.suppress(sqlite3.Error, OSError), _memory(cache) as memory:
        for first in range(0, len(paths), 500):
            part = paths[first : first + 500]
            marks = ",".join("?" * len(part))
            rows = memory.execute(f"SELECT path, size, changed, sha256 FROM content WHERE path IN ({marks})", part)
            known.update({path: rest for path, *rest in ((p, s, c, h) for p, s, c, h in rows)})
    return {path: tuple(rest) for path, rest in known.items()}


def _remember(cache: Path | None, rows: list[tuple[str, int, int, str]]) -> None:
    if rows:
        with contextlib.suppress(sqlite3.Error, OSError), _memory(cache) as memory:
            memory.executemany("INSERT OR REPLACE INTO content VALUES (?, ?, ?, ?)", rows)


@contextlib.contextmanager
def _memory(cache: Path | None):
    """The memory is a convenience: where it cannot be opened, files are simply read again."""
    folder = Path(cache) if cache else cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "content.sqlite", timeout=30)) as memory, memory:
        memory.execute(
            "CREATE TABLE IF NOT EXISTS content (path TEXT PRIMARY KEY, size INTEGER, changed INTEGER, sha256 TEXT)"
        )
        yield memory
