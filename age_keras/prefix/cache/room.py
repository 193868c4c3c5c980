"""Room for the feature cache: its budgets, what it holds, and what has to go."""

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from age_keras.errors import InputError

GB = 10**9
DISK_BUDGET = 20 * GB
LIMIT = "AGE_KERAS_CACHE_GB"
"""Environment variable: how many GB of features may be kept on disk."""
WORKERS = "AGE_KERAS_WORKERS"
"""Environment variable, set for a training's processes: how many of them share this machine's memory."""
TRASH = ".trash-"


@dataclass(frozen=True)
class Held:
    """An entry on disk.

    Attributes:
        folder: of the entry.
        facts: of its `entry.json`; empty where that cannot be read.
        bytes: on disk.
        used: when it was last used, in seconds since 1970.
    """

    folder: Path
    facts: dict
    bytes: int
    used: float


def default_memory_budget() -> int:
    """A quarter of the machine's memory, in bytes, shared out among its workers; 2 GB where that cannot be told."""
    try:
        quarter = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):
        quarter = 2 * GB
    return quarter // max(1, int(os.environ.get(WORKERS, 1)))


def default_disk_budget(directory: Path) -> int:
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
    existing = next(folder for folder in (directory, *directory.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free + sum(entry.bytes for entry in held(directory))
    return min(DISK_BUDGET, free // 2)


def held(directory: Path) -> list[Held]:
    """The entries of a cache, the least recently used first."""
    entries = []
    for folder in _folders(directory):
        try:
            facts = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = {}
        entries.append(Held(folder, facts if isinstance(facts, dict) else {}, folder_bytes(folder), _used(folder)))
    return sorted(entries, key=lambda entry: entry.used)


def folder_bytes(folder: Path) -> int:
    """What the files of a folder take; files that vanish meanwhile count nothing."""
    total = 0
    for root, _, files in os.walk(folder):
        for file in files:
            try:
                total += os.stat(os.path.join(root, file)).st_size
            except FileNotFoundError:
                continue
    return total


def touch(folder: Path) -> None:
    """Notes that an entry is used now, where it can be noted."""
    with contextlib.suppress(OSError):
        if folder.is_dir():
            (folder / "used").touch()
            os.utime(folder / "used", (time.time(), time.time()))


def make_room(directory: Path, need: int, budget: int, keep: Collection[Path]) -> bool:
    """Deletes the least recently used entries until `need` more bytes fit the budget and the disk.

    Args:
        directory: of the entries.
        need: bytes that are going to be added.
        budget: bytes of all entries.
        keep: entries that stay.

    Returns:
        Whether there is room now. Nothing is deleted where there could be none.

    Raises:
        OSError: nothing can be written there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "lock"):
        sweep(directory)
        entries = held(directory)
        total, free = sum(entry.bytes for entry in entries), shutil.disk_usage(directory).free
        excess = max(total + need - budget, need - free)
        candidates = [entry for entry in entries if entry.folder not in keep]
        if excess > sum(entry.bytes for entry in candidates):
            return False
        for entry in candidates:
            if excess <= 0:
                break
            if remove(entry.folder):
                excess -= entry.bytes
        return excess <= 0


def remove(folder: Path) -> bool:
    """Deletes an entry, unless a process is writing it. Returns whether it is gone.

    It goes in one step: it takes another name before its files are deleted, so nobody finds half of it.
    """
    try:
        with FileLock(folder / "lock", timeout=0):
            trash = folder.parent / f"{TRASH}{uuid.uuid4().hex}"
            folder.rename(trash)
            shutil.rmtree(trash, ignore_errors=True)
    except (Timeout, OSError):
        return not folder.exists()
    return True


def sweep(directory: Path) -> None:
    """Deletes what a process that was killed while it deleted an entry has left."""
    for trash in directory.glob(f"{TRASH}*"):
        shutil.rmtree(trash, ignore_errors=True)


def _folders(directory: Path) -> list[Path]:
    try:
        return [path for path in directory.iterdir() if path.is_dir() and not path.name.startswith(TRASH)]
    except OSError:
        return []


def _used(folder: Path) -> float:
    try:
        return (folder / "used").stat().st_mtime
    except OSError:
        return 0.0
