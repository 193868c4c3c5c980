"""The patch store: every page is decoded once, into one uint8 file on disk that all runs share.

    <cache>/patches/<settings>/<pages>/patches.npy   uint8 (P, side, side, channels)
                                       index.json    what each page has become

`<settings>` and `<pages>` are hashes of the settings and of the pages' contents, so that a changed page or setting
never meets an old entry. While a store is built its folder is `<pages>.part` and holds a journal, a line a page, from
which an interrupted building goes on. Pages that another store with the same settings has are copied from there.
"""

import collections
import contextlib
import dataclasses
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from age_keras.data.content import content_hashes
from age_keras.data.pages import PageSettings, cut_page
from age_keras.data.samples import Samples
from age_keras.errors import InputError
from age_keras.files import atomic_write, cache_dir

VERSION = 1  # to be raised when the same page and settings would give other pixels
_HEADER = 128  # bytes of the .npy header, written when the number of patches is known


@dataclasses.dataclass(frozen=True)
class PatchStore:
    """The patches of some pages, on disk.

    Args:
        patches: uint8 memory map, (P, side, side, channels), in the order of the table's pages.
        page: int32, (P,): row of the patch's page in the samples' table.
        box: int32, (P, 4): x, y, width and height in pixels of the scaled page.
        page_sizes: int32, (number of pages, 2): width and height of the scaled page; 0 for a skipped one.
        keys: uint64, (P,): hash of the page's content, the settings and the place; the same patch has the same key in
            every run.
        skipped: `(ImageID, reason)` of each page that could not be read.
        blank: `ImageID` of each page without a patch that has ink, of which the inkiest was kept.
        path: the file behind `patches`.
    """

    patches: np.memmap
    page: np.ndarray
    box: np.ndarray
    page_sizes: np.ndarray
    keys: np.ndarray
    skipped: list[tuple[str, str]]
    blank: list[str]
    path: Path

    def __len__(self) -> int:
        return len(self.page)

    @classmethod
    def open(
        cls,
        samples: Samples,
        settings: PageSettings | None = None,
        skip_bad: bool = False,
        cache: str | Path | None = None,
        workers: int | None = None,
        progress: bool = True,
    ) -> "PatchStore":
        """Opens the patches of some pages, cutting what no store has yet.

        Args:
            samples: the pages.
            settings: how pages become patches. Defaults to the published protocol.
            skip_bad: leave out pages that cannot be read instead of stopping. Defaults to False.
            cache: the folder of the stores. Defaults to `cache_dir()`.
            workers: pages decoded at a time. Defaults to the number of processors.
            progress: show a progress bar. Defaults to True.

        Raises:
            InputError: a page cannot be read, or there is no space left.
        """
        import filelock

        settings = settings or PageSettings()
        paths = samples.paths
        hashes = content_hashes(paths, Path(cache) if cache else None)
        home = Path(cache or cache_dir()) / "patches" / f"{settings.key}-v{VERSION}"
        name = hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:24]
        final = home / name
        if not (final / "index.json").is_file():
            home.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(home / f"{name}.lock"):
                if not (final / "index.json").is_file():
                    builder = _Builder(home, name, paths, hashes, settings, skip_bad)
                    builder.build(workers or os.cpu_count() or 1, progress)
        return cls._load(final, samples, settings, hashes, skip_bad)

    @classmethod
    def _load(cls, folder: Path, samples: Samples, settings: PageSettings, hashes: list[str], skip_bad: bool):
        pages = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        names = samples.table["ImageID"]
        skipped = [(names[row], page["error"]) for row, page in enumerate(pages) if "error" in page]
        if skipped and not skip_bad:
            raise _unreadable(skipped[0][1])
        counts = [len(page.get("boxes", ())) for page in pages]
        if not sum(counts):
            raise InputError(f"None of the {len(pages)} pages of {samples.root} can be read.")
        box = np.array([box for page in pages for box in page.get("boxes", ())], np.int32).reshape(-1, 4)
        row = np.repeat(np.arange(len(pages), dtype=np.int32), counts)
        patches = np.load(folder / "patches.npy", mmap_mode="r")
        return cls(
            patches=patches,
            page=row,
            box=box,
            page_sizes=np.array([page.get("size", (0, 0)) for page in pages], np.int32).reshape(-1, 2),
            keys=_keys(settings, [hashes[i] for i in row], box),
            skipped=skipped,
            blank=[names[i] for i, page in enumerate(pages) if page.get("blank")],
            path=folder / "patches.npy",
        )


class _Builder:
    """Builds one store, or goes on with one."""

    def __init__(self, home: Path, name: str, paths: list[Path], hashes: list[str], settings: PageSettings, skip_bad):
        self.home, self.final, self.part = home, home / name, home / f"{name}.part"
        self.paths, self.hashes, self.settings, self.skip_bad = paths, hashes, settings, skip_bad
        self.patch_bytes = settings.side**2 * settings.channels

    def build(self, workers: int, progress: bool) -> None:
        self.part.mkdir(exist_ok=True)
        pages = self._journal()
        patches = sum(len(page.get("boxes", ())) for page in pages)
        try:
            with (
                open(self.part / "patches.npy", "ab") as data,
                open(self.part / "journal.jsonl", "a", encoding="utf-8") as journal,
                tqdm(
                    total=len(self.paths),
                    initial=len(pages),
                    desc="Pages to patches",
                    unit="page",
                    disable=not progress,
                ) as bar,
            ):
                data.truncate(_HEADER + patches * self.patch_bytes)
                data.seek(0, os.SEEK_END)
                for entry, pixels in self._pages(len(pages), workers):
                    if "error" in entry and not self.skip_bad:
                        raise _unreadable(entry["error"])
                    if pixels is not None:
                        data.write(pixels)
                        data.flush()
                    journal.write(json.dumps(entry) + "\n")
                    journal.flush()
                    pages.append(entry)
                    patches += len(entry.get("boxes", ()))
                    bar.update()
            self._finish(pages, patches)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise InputError(
                f"No space is left for patches in {self.home}: set AGE_KERAS_CACHE to another folder."
            ) from None

    def _journal(self) -> list[dict]:
        """What an interrupted building has finished: whole lines, without a last run of failures to try again."""
        pages = []
        with contextlib.suppress(FileNotFoundError), open(self.part / "journal.jsonl", "rb+") as file:
            while (line := file.readline()).endswith(b"\n"):
                pages.append(json.loads(line))
                whole = file.tell()
            file.truncate(whole if pages else 0)
        return pages

    def _pages(self, first: int, workers: int) -> Iterator[tuple[dict, bytes | np.ndarray | None]]:
        """Each page's entry and pixels, in order, never more than a few pages ahead."""
        known = self._elsewhere()
        ahead: collections.deque = collections.deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for row in range(first, len(self.paths)):
                    ahead.append(pool.submit(self._page, row, known.get(self.hashes[row])))
                    if len(ahead) >= 2 * workers:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _page(self, row: int, known: tuple[Path, int, dict] | None) -> tuple[dict, bytes | np.ndarray | None]:
        if known:
            file, first, entry = known
            count = len(entry["boxes"])
            with contextlib.suppress(OSError), open(file, "rb") as data:
                data.seek(_HEADER + first * self.patch_bytes)
                pixels = data.read(count * self.patch_bytes)
                if len(pixels) == count * self.patch_bytes:
                    return entry, pixels
        try:
            page = cut_page(self.paths[row], self.settings)
        except InputError as error:
            return {"error": str(error)}, None
        entry = {"size": [int(side) for side in page.size], "boxes": page.boxes.tolist()}
        return entry | ({"blank": True} if page.blank else {}), page.patches

    def _elsewhere(self) -> dict[str, tuple[Path, int, dict]]:
        """Where other stores with the same settings have pages of this one."""
        wanted, known = set(self.hashes), {}
        for index in self.home.glob("*/index.json"):
            with contextlib.suppress(OSError, ValueError):
                first = 0
                hashes = (index.parent / "hashes.txt").read_text().split("\n")
                for digest, entry in zip(hashes, json.loads(index.read_text(encoding="utf-8")), strict=True):
                    if digest in wanted and "boxes" in entry:
                        known[digest] = (index.parent / "patches.npy", first, entry)
                    first += len(entry.get("boxes", ()))
        return known

    def _finish(self, pages: list[dict], patches: int) -> None:
        shape = (patches, self.settings.side, self.settings.side, self.settings.channels)
        with open(self.part / "patches.npy", "rb+") as data:
            data.write(_npy_header(shape))
            os.fsync(data.fileno())
        (self.part / "hashes.txt").write_text("\n".join(self.hashes))
        with atomic_write(self.part / "index.json") as file:
            json.dump(pages, file)
        os.unlink(self.part / "journal.jsonl")
        os.replace(self.part, self.final)


def _npy_header(shape: tuple[int, ...]) -> bytes:
    """The .npy header (format 1.0) of a C-ordered uint8 array, `_HEADER` bytes long whatever the shape."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape})
    text = text.ljust(_HEADER - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("ascii")


def _keys(settings: PageSettings, hashes: list[str], boxes: np.ndarray) -> np.ndarray:
    places = (f"{settings.key} {digest} {box[0]} {box[1]}" for digest, box in zip(hashes, boxes.tolist(), strict=True))
    digests = (hashlib.blake2b(place.encode(), digest_size=8).digest() for place in places)
    return np.frombuffer(b"".join(digests), np.uint64)


def _unreadable(reason: str) -> InputError:
    return InputError(f"{reason} `age-keras data check` lists every bad page; --skip-bad leaves them out.")
