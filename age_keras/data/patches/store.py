"""The patch store: every page is decoded once, into one uint8 file on disk that all runs share.

    <cache>/patches/<settings>/<pages>/patches.npy   uint8 (P, side, side, channels)
                                       index.json    what became of each page
                                       pages.txt     the hash of each page's content

`<settings>` and `<pages>` are hashes of the settings and of the pages' contents, so that a changed page or setting
never meets an old entry. `store_builder` makes what is not there. A store can be deleted whenever no run uses it.
"""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from age_keras.config.pages import PageSettings
from age_keras.data.patches.builder import build_store, unreadable
from age_keras.data.table.content import content_hashes
from age_keras.data.table.samples import Samples
from age_keras.errors import InputError
from age_keras.files import cache_dir

VERSION = 1  # to be raised when the same page and settings would give other pixels


@dataclasses.dataclass(frozen=True)
class PatchStore:
    """The patches of some pages, on disk.

    Args:
        patches: uint8 memory map, (P, side, side, channels), in the order of the table's pages.
        page: Int32, (P,): row of the patch's page in the samples' table.
        box: Int32, (P, 4): x, y, width and height in pixels of the scaled page.
        page_sizes: Int32, (number of pages, 2): width and height of the scaled page; 0 for a skipped one.
        keys: Uint64, (P,): hash of the page's content, the settings and the place; the same patch has the same key in
            every run.
        skipped: `(ImageID, reason)` of each page that could not be read.
        blank: `ImageID` of each page without a patch that has ink, of which the inkiest was kept.
        path: The file behind `patches`.

    Example:
        >>> from age_keras.data.table.samples import read_samples
        >>> samples = read_samples("data/hhd_age")
        >>> store = PatchStore.open(samples, PageSettings(image_size=224))
        >>> store.patches.shape[1:]
        (224, 224, 1)
        >>> ages_of_patches = samples.table["Age"].to_numpy()[store.page]
    """

    patches: np.ndarray
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
        """Opens the patches of some pages, cutting the pages that no store has yet.

        Args:
            samples: The pages.
            settings: How pages become patches. Defaults to the published protocol.
            skip_bad: Leave out pages that cannot be read instead of stopping. Defaults to False.
            cache: The folder of the stores. Defaults to `cache_dir()`.
            workers: Pages decoded at a time. Defaults to the number of processors, at most 8.
            progress: Show a progress bar. Defaults to True.

        Raises:
            InputError: A page cannot be read, or no space is left.
        """
        settings = settings or PageSettings()
        cache = Path(cache or cache_dir())
        hashes = content_hashes(samples.paths, cache)
        name = hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:24]
        folder = cache / "patches" / f"{settings.key}-v{VERSION}" / name
        if not (folder / "index.json").is_file():
            build_store(folder, samples.paths, hashes, settings, skip_bad, workers, progress)
        pages = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return cls._load(folder, pages, samples, settings, hashes, skip_bad)

    @classmethod
    def _load(cls, folder: Path, pages: list[dict], samples: Samples, settings: PageSettings, hashes, skip_bad: bool):
        names = samples.table["ImageID"]
        bad = {row: page["error"] for row, page in enumerate(pages) if "error" in page}
        if bad and not skip_bad:
            first, reason = next(iter(bad.items()))
            raise unreadable(samples.paths[first], reason)
        if len(bad) == len(pages):
            raise InputError(f"None of the {len(pages)} pages in {samples.root} can be read.")
        row = np.repeat(np.arange(len(pages), dtype=np.int32), [len(page.get("boxes", ())) for page in pages])
        box = np.array([box for page in pages for box in page.get("boxes", ())], np.int32)
        return cls(
            patches=np.load(folder / "patches.npy", mmap_mode="r"),
            page=row,
            box=box,
            page_sizes=np.array([page.get("size", (0, 0)) for page in pages], np.int32),
            keys=_keys(settings, [hashes[i] for i in row], box),
            skipped=[(names[i], reason) for i, reason in bad.items()],
            blank=[names[i] for i, page in enumerate(pages) if page.get("blank")],
            path=folder / "patches.npy",
        )


def _keys(settings: PageSettings, hashes: list[str], boxes: np.ndarray) -> np.ndarray:
    places = (f"{settings.key} {digest} {x} {y}" for digest, (x, y, _, _) in zip(hashes, boxes.tolist(), strict=True))
    digests = (hashlib.blake2b(place.encode(), digest_size=8).digest() for place in places)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
