"""Cut pages into a patch store: in parallel, in order, in bounded memory, resumed after an interruption.

While a store is built its folder has the name `<store>.part` and a journal, one line a page, which never runs ahead of
the pixels that are safely on disk: killed at any moment, by hand or by a power cut, it is resumed from there.
A page that another store with the same settings has is copied, not decoded again.
"""

import collections
import contextlib
import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from age_keras.config.pages import PageSettings
from age_keras.data.patches.pages import cut_page
from age_keras.errors import InputError

HEADER = 128  # bytes of the .npy header, which is written last, when the number of patches is known
_JOURNAL_SECONDS = 2.0  # of work that a kill can cost

Pixels = np.ndarray | bytes


def build_store(
    folder: Path,
    paths: list[Path],
    hashes: list[str],
    settings: PageSettings,
    skip_bad: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> None:
    """Builds the store `folder` unless another process has done so meanwhile.

    Args:
        folder: The store to make, beside the others with the same settings.
        paths: The pages.
        hashes: Hashes of each page's content.
        settings: How pages become patches.
        skip_bad: Record a page that cannot be read instead of stopping. Defaults to False.
        workers: Pages decoded at a time. Defaults to `pages_at_a_time()`.
        progress: Show a progress bar. Defaults to True.

    Raises:
        InputError: A page cannot be read, or no space is left.
    """
    import filelock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.with_suffix(".lock"))
        try:
            held = lock.acquire(timeout=1)
        except filelock.Timeout:
            print("Another process is cutting these pages; waiting for it.", file=sys.stderr)
            held = lock.acquire()
        with held:
            if not (folder / "index.json").is_file():
                _Builder(folder, paths, hashes, settings, skip_bad).build(workers or pages_at_a_time(), progress)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        reason = os.strerror(error.errno).lower()
        raise InputError(f"Patches cannot be kept in {folder.parent} ({reason}): set AGE_KERAS_CACHE.") from error


def pages_at_a_time() -> int:
    """Pages decoded at a time: one a processor, at most 8, since each holds a whole page in memory."""
    return min(8, os.cpu_count() or 1)


def unreadable(path: Path, reason: str) -> InputError:
    """The error that a page that cannot be read stops a run with."""
    return InputError(f"{path} {reason} `age-keras data check` lists every bad page; --skip-bad leaves them out.")


class _Builder:
    def __init__(self, folder: Path, paths: list[Path], hashes: list[str], settings: PageSettings, skip_bad: bool):
        self.folder, self.part = folder, folder.with_suffix(".part")
        self.paths, self.hashes, self.settings, self.skip_bad = paths, hashes, settings, skip_bad
        self.patch_bytes = settings.side**2 * settings.channels
        self.entries: list[dict] = []  # of the pages that are done: size and boxes, or the error

    def build(self, workers: int, progress: bool) -> None:
        self.part.mkdir(exist_ok=True)
        with open(self.part / "patches.npy", "ab") as data, open(self.part / "journal.jsonl", "a+b") as journal:
            self._resume(data, journal)
            kept = len(self.entries)
            bar = tqdm(total=len(self.paths), initial=kept, desc="Cutting pages", unit="page", disable=not progress)
            saved, last = kept, time.monotonic()
            try:
                for entry, pixels in self._pages(kept, workers):
                    self._stop_if_bad(len(self.entries), entry)
                    if pixels is not None:
                        data.write(pixels)
                    self.entries.append(entry)
                    bar.update()
                    if time.monotonic() - last > _JOURNAL_SECONDS:
                        saved, last = self._save(data, journal, saved), time.monotonic()
            finally:
                self._save(data, journal, saved)
                bar.close()
        self._finish()

    def _stop_if_bad(self, row: int, entry: dict) -> None:
        if "error" in entry and not self.skip_bad:
            raise unreadable(self.paths[row], entry["error"])

    def _resume(self, data, journal) -> None:
        """Takes up the pages of an interrupted building whose line and pixels are whole."""
        there, end, whole = data.seek(0, os.SEEK_END), HEADER, 0
        journal.seek(0)
        for line in journal:
            try:
                entry = json.loads(line)
            except ValueError:
                break
            after = end + len(entry.get("boxes", ())) * self.patch_bytes
            if after > there or not line.endswith(b"\n"):
                break
            self._stop_if_bad(len(self.entries), entry)
            self.entries.append(entry)
            end, whole = after, whole + len(line)
        journal.truncate(whole)
        data.truncate(end)

    def _save(self, data, journal, saved: int) -> int:
        data.flush()
        os.fsync(data.fileno())
        for entry in self.entries[saved:]:
            journal.write(json.dumps(entry).encode() + b"\n")
        journal.flush()
        return len(self.entries)

    def _pages(self, first: int, workers: int) -> Iterator[tuple[dict, Pixels | None]]:
        """Each page's entry and pixels, in order, never more than a few pages ahead of the disk."""
        known = self._elsewhere()
        ahead: collections.deque = collections.deque()
        pool = ThreadPoolExecutor(workers)
        try:
            for row in range(first, len(self.paths)):
                ahead.append(pool.submit(self._page, row, known.get(self.hashes[row])))
                if len(ahead) > workers + 1:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _page(self, row: int, known: tuple[Path, int, dict] | None) -> tuple[dict, Pixels | None]:
        if known:
            file, offset, entry = known
            size = len(entry["boxes"]) * self.patch_bytes
            with contextlib.suppress(OSError), open(file, "rb") as data:
                data.seek(offset)
                pixels = data.read(size)
                if len(pixels) == size:
                    return entry, pixels
        try:
            page = cut_page(self.paths[row], self.settings)
        except InputError as error:
            return {"error": str(error).removeprefix(f"{self.paths[row]} ")}, None
        entry = {"size": list(page.size), "boxes": page.boxes.tolist()}
        return entry | ({"blank": True} if page.blank else {}), page.patches

    def _elsewhere(self) -> dict[str, tuple[Path, int, dict]]:
        """The pages of this store that finished ones with the same settings have: file, offset in it, entry."""
        wanted, known = set(self.hashes) - {""}, {}
        for index in self.folder.parent.glob("*/index.json"):
            with contextlib.suppress(OSError, ValueError):
                hashes = (index.parent / "pages.txt").read_text().split("\n")
                offset = HEADER
                for digest, entry in zip(hashes, json.loads(index.read_text(encoding="utf-8")), strict=True):
                    if digest in wanted and "boxes" in entry:
                        known[digest] = (index.parent / "patches.npy", offset, entry)
                    offset += len(entry.get("boxes", ())) * self.patch_bytes
        return known

    def _finish(self) -> None:
        patches = sum(len(entry.get("boxes", ())) for entry in self.entries)
        with open(self.part / "patches.npy", "rb+") as data:
            data.write(_npy_header((patches, self.settings.side, self.settings.side, self.settings.channels)))
            os.fsync(data.fileno())
        (self.part / "pages.txt").write_text("\n".join(self.hashes))
        (self.part / "index.json").write_text(json.dumps(self.entries), encoding="utf-8")
        shutil.rmtree(self.folder, ignore_errors=True)  # one that has lost its index
        os.replace(self.part, self.folder)
        (self.folder / "journal.jsonl").unlink()


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The .npy header (format 1.0) of a C-ordered uint8 array, `HEADER` bytes long whatever the shape."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape})
    text = text.ljust(HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")
