"""Room for the feature cache: its budgets, what it holds, and what has to go."""

import json
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

GB = 10**9
DISK_BUDGET = 20 * GB


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
    """A quarter of the machine's memory, in bytes; 2 GB where that cannot be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
    except (AttributeError, ValueError, OSError):
        return 2 * GB


def default_disk_budget(directory: Path) -> int:
    """20 GB, and at most half of what is free, what the entries hold already counted as free."""
    existing = next(folder for folder in (directory, *directory.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free + sum(entry.bytes for entry in held(directory))
    return min(DISK_BUDGET, free // 2)


def held(directory: Path) -> list[Held]:
    """The entries of a cache, the least recently used first."""
    entries = []
    for folder in directory.iterdir() if directory.is_dir() else ():
        if not folder.is_dir():
            continue
        try:
            facts = json.loads((folder / "entry.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            facts = {}
        entries.append(Held(folder, facts, folder_bytes(folder), _used(folder)))
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
    """Notes that an entry is used now."""
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
    """
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / "lock"):
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
    """Deletes an entry, unless a process is writing it. Returns whether it is gone."""
    try:
        with FileLock(folder / "lock", timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    except (Timeout, FileNotFoundError):
        return not folder.exists()
    return True


def _used(folder: Path) -> float:
    try:
        return (folder / "used").stat().st_mtime
    except OSError:
        return 0.0
