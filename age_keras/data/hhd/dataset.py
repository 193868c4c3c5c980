"""HHD-Age: 882 handwritten Hebrew pages of 562 writers of 8 to 60 years, from Zenodo.

Source: https://zenodo.org/records/14996257, made of the Hebrew Handwritten Dataset (HHD). The official split has
648 / 118 / 116 pages, writer-disjoint. `read_samples` reads the folder as it is laid out here or as unpacked by hand.
"""

import shutil
from pathlib import Path

import requests

from age_keras.data.hhd.download import TIMEOUT, fetch, unpack
from age_keras.data.table.gather import Gathered, gather
from age_keras.errors import InputError

ZENODO = "https://zenodo.org"
RECORD = "14996257"
ARCHIVE = "AgeAnnotations_and_Split.zip"
FOLDER = Path("data/hhd_age")


def download_hhd(
    folder: str | Path = FOLDER, base_url: str = ZENODO, pause: float = 1.0, progress: bool = True
) -> bool:
    """Downloads HHD-Age (about 109 MB) and lays it out: `train/`, `val/`, `test/` and the labels.

    An interrupted download is resumed by the next call; size and checksum are those of the Zenodo record. The folder
    appears when it is complete.

    Args:
        folder: The folder to make. Defaults to `data/hhd_age`.
        base_url: The server. Defaults to Zenodo.
        pause: Seconds before a broken connection is tried again, doubled each time. Defaults to 1.
        progress: Whether to show progress bars. Defaults to True.

    Returns:
        Whether anything had to be done: False for a folder that is complete already.

    Raises:
        InputError: The folder holds something else, the server cannot be reached, or the archive is not HHD-Age.
    """
    import filelock

    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.parent / f".{folder.name}.lock"):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            _pages(folder, f"{folder} exists and is not a complete HHD-Age folder: move it away or give another folder")
            return False
        archive = folder.parent / f".{ARCHIVE}"
        if not archive.exists():  # it has this name only when it is verified
            url, size, md5 = _file_of_record(base_url)
            fetch(url, archive, size, md5, pause=pause, progress=progress)
        new = folder.parent / f".{folder.name}.new"
        shutil.rmtree(new, ignore_errors=True)  # left by a kill
        try:
            unpack(archive, new, progress)
            _pages(new, f"{archive} does not hold the HHD-Age folder that was expected")
            if folder.exists():
                folder.rmdir()
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        archive.unlink()
    return True


def describe(folder: str | Path) -> str:
    """One line on a folder of HHD-Age: pages, writers and split."""
    table = gather(folder).table
    split = " / ".join(f"{(table['Split'] == name).sum()} {name}" for name in ("train", "val", "test"))
    return f"{folder}: {len(table)} pages of {table['Writer'].nunique()} writers, {split}"


def _pages(folder: Path, otherwise: str) -> Gathered:
    try:
        pages = gather(folder)
    except InputError as error:
        raise InputError(f"{otherwise} ({error})") from None
    if pages.labels is None or "Split" not in pages.table:
        raise InputError(f"{otherwise} (it has no labels with a split).")
    if pages.missing.any() or pages.outside.any():
        raise InputError(f"{otherwise} ({(pages.missing | pages.outside).sum()} of its pages are missing).")
    return pages


def _file_of_record(base_url: str) -> tuple[str, int, str]:
    """Address, size in bytes and MD5 of the archive, from Zenodo's record."""
    url = f"{base_url.rstrip('/')}/api/records/{RECORD}"
    try:
        response = requests.get(url, timeout=TIMEOUT)
        response.raise_for_status()
        files = {file["key"]: file for file in response.json()["files"]}
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{url} cannot be read ({type(error).__name__}): check the connection and re-run the command."
        ) from error
    if ARCHIVE not in files:
        raise InputError(f"{url} has no file {ARCHIVE}; it has {', '.join(files) or 'none'}.")
    kind, _, digest = str(files[ARCHIVE].get("checksum", "")).partition(":")
    if kind != "md5":
        raise InputError(f"{url} gives no md5 checksum for {ARCHIVE}. Received: {kind!r}")
    address = files[ARCHIVE].get("links", {}).get("self") or f"{base_url}/records/{RECORD}/files/{ARCHIVE}?download=1"
    return address, int(files[ARCHIVE]["size"]), digest
