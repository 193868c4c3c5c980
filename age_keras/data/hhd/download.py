"""Fetch a large archive over a bad connection and unpack it: both are whole or not there.

pooch and `keras.utils.get_file` verify and unpack too, but begin anew when a connection breaks off.
"""

import hashlib
import os
import shutil
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from age_keras.data.table.gather import is_stray
from age_keras.errors import InputError

CHUNK = 1 << 18  # bytes
TIMEOUT = (15, 60)  # seconds to connect, and between two chunks
MAX_RATIO = 200  # unpacked to packed; pages of white paper reach about 70
MAX_FREE = 1 << 24  # bytes below which no ratio is absurd


def fetch(
    url: str, path: str | Path, size: int, md5: str, tries: int = 6, pause: float = 1.0, progress: bool = True
) -> Path:
    """Downloads a file to `path` through `<path>.part`, which a later call resumes.

    A connection that breaks off is resumed (HTTP Range) after a pause that doubles each time; a server that does not
    support ranges sends the file again from the start. Size and MD5 are verified before the file gets its name.

    Args:
        url: The file's address.
        path: The file to write.
        size: Its size in bytes.
        md5: Its MD5, in hex.
        tries: Connections in a row that may bring nothing new. Defaults to 6.
        pause: Seconds before the first repetition. Defaults to 1.
        progress: Whether to show a progress bar. Defaults to True.

    Raises:
        InputError: The server cannot be reached or refuses, or what it sends is not the file. What is good is kept.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if _size(part) > size:
        part.unlink()
    resumed = _size(part) > 0
    _fill(url, part, size, tries, pause, progress)
    if resumed and _md5(part) != md5:  # the older piece may be of another version of the file
        part.unlink()
        _fill(url, part, size, tries, pause, progress)
    if (found := _md5(part)) != md5:
        part.unlink()
        raise InputError(f"{url}: the checksum is md5 {found}, not {md5}. The file was deleted; try again later.")
    os.replace(part, path)
    return path


def _fill(url: str, part: Path, size: int, tries: int, pause: float, progress: bool) -> None:
    failed, reason = 0, "it sent less than it should"
    with tqdm(total=size, initial=_size(part), desc=part.stem, unit="B", unit_scale=True, disable=not progress) as bar:
        while (there := _size(part)) < size:
            try:
                _receive(url, part, there, size, bar)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                status = getattr(getattr(error, "response", None), "status_code", 0)
                if status == 416:  # it has no byte there
                    part.unlink()
                    raise InputError(f"{url}: the server's file is shorter than {size} bytes.") from None
                if 400 <= status < 500 and status != 429:
                    raise InputError(f"{url}: the server refuses (HTTP {status}).") from error
                reason = f"HTTP {status}" if status else "the connection broke off"
            failed = 0 if _size(part) > there else failed + 1
            if failed >= tries:
                raise InputError(
                    f"{url} cannot be fetched ({reason}). {there} of {size} bytes are kept: re-run the command to "
                    "resume."
                )
            if _size(part) < size:
                time.sleep(min(60, pause * 2**failed))
    if there > size:
        part.unlink()
        raise InputError(f"{url}: the server sends more than the expected {size} bytes.")


def _receive(url: str, part: Path, there: int, size: int, bar: tqdm) -> None:
    """One connection: from byte `there` on, or from the start where the server does not support ranges."""
    # Compression by the server would make byte counts mean something else.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        resumes = response.status_code == 206 and response.headers["Content-Range"].startswith(f"bytes {there}-")
        if not resumes:
            bar.reset(total=size)
        with open(part, "ab" if resumes else "wb") as file:
            # read1 gives what has come, where `iter_content` would throw away the last, broken chunk.
            while chunk := response.raw.read1(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > size:
                    return


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def unpack(archive: str | Path, folder: str | Path, progress: bool = True) -> Path:
    """Unpacks a zip file into a new folder.

    Stray files of file managers are left out, and folders that hold everything are taken away. A link in the archive
    becomes a plain file.

    Args:
        archive: The zip file.
        folder: The folder to make.
        progress: Whether to show a progress bar. Defaults to True.

    Raises:
        InputError: The archive is damaged or encrypted, a name in it leads outside, it would grow absurdly, or there is
            no space for it.
    """
    archive, folder = Path(archive), Path(folder)
    try:
        with (
            zipfile.ZipFile(archive) as file,
            tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary,
        ):
            _check(archive, file.infolist(), folder.parent)
            top = Path(temporary, "all")
            top.mkdir()
            for entry in tqdm(file.infolist(), desc="Unpacking", unit="file", disable=not progress):
                if not any(is_stray(part) for part in entry.filename.split("/")):
                    file.extract(entry, top)
            while len(inside := list(top.iterdir())) == 1 and inside[0].is_dir():
                top = inside[0]
            os.replace(top, folder)
    # RuntimeError: it is encrypted.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive} is damaged or encrypted ({error}): delete it and fetch it again.") from error
    return folder


def _check(archive: Path, entries: list[zipfile.ZipInfo], parent: Path) -> None:
    for name in (entry.filename for entry in entries):
        if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
            raise InputError(f"{archive}: {name!r} leads outside the folder; nothing was unpacked.")
    # zipfile never writes more than the size that an entry states.
    size, packed, free = sum(e.file_size for e in entries), archive.stat().st_size, shutil.disk_usage(parent).free
    if size > max(MAX_RATIO * packed, MAX_FREE):
        raise InputError(f"{archive} would grow from {packed} to {size} bytes, which no data set does; not unpacked.")
    if size > free:
        raise InputError(f"{archive} needs {size} bytes in {parent}, where {free} are free.")
