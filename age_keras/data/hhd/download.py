"""Fetch a large file over a bad connection: goes on where it stopped, and is whole or not there."""

import hashlib
import os
import time
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from age_keras.errors import InputError

CHUNK = 1 << 18
TIMEOUT = (15, 60)  # seconds to connect, and between two chunks


def fetch(
    url: str, path: str | Path, size: int, md5: str, tries: int = 6, pause: float = 1.0, progress: bool = True
) -> Path:
    """Downloads a file into `path` by way of `<path>.part`, which a later call goes on with.

    A connection that breaks off is taken up again (HTTP Range), with a longer pause each time; a server that cannot do
    that sends everything anew. Size and MD5 are verified before the file gets its name.

    Args:
        url: where the file is.
        path: where it shall be.
        size: its size in bytes.
        md5: its MD5, in hex.
        tries: connections in a row that may bring nothing new. Defaults to 6.
        pause: seconds before the first repetition, doubled each time. Defaults to 1.
        progress: show a progress bar. Defaults to True.

    Raises:
        InputError: the server cannot be reached or refuses, or what it sends is not the file. What is good is kept.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    if part.exists() and part.stat().st_size > size:
        part.unlink()
    resumed = part.exists() and part.stat().st_size > 0
    _fill(url, part, size, tries, pause, progress)
    found = _md5(part)
    if found != md5 and resumed:  # the older piece may be of another version of the file
        part.unlink()
        _fill(url, part, size, tries, pause, progress)
        found = _md5(part)
    if found != md5:
        part.unlink()
        raise InputError(f"{url}: the checksum is md5 {found}, not {md5}; it was thrown away, try again later.")
    os.replace(part, path)
    return path


def _fill(url: str, part: Path, size: int, tries: int, pause: float, progress: bool) -> None:
    there = part.stat().st_size if part.exists() else 0
    failed, reason = 0, "it sent less than it should"
    with tqdm(total=size, initial=there, desc=part.stem, unit="B", unit_scale=True, disable=not progress) as bar:
        while there < size:
            try:
                _receive(url, part, there, size, bar)
            except (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError) as error:
                reason = _plain(error)
                status = getattr(getattr(error, "response", None), "status_code", None)
                if status == 416:  # it has no byte there
                    part.unlink()
                    raise InputError(
                        f"{url}: the server's file is shorter than the {size} bytes it should have."
                    ) from None
                if status is not None and 400 <= status < 500 and status != 429:
                    raise InputError(f"{url}: the server refuses ({reason}).") from error
            before, there = there, part.stat().st_size if part.exists() else 0
            if there >= size:
                break
            failed = 0 if there > before else failed + 1
            if failed >= tries:
                raise InputError(f"{url} cannot be fetched ({reason}); {there} of {size} bytes are kept: run it again.")
            time.sleep(min(60, pause * 2**failed))
    if there > size:
        part.unlink()
        raise InputError(f"{url}: the server sends more than the {size} bytes that the file should have.")


def _receive(url: str, part: Path, there: int, size: int, bar: tqdm) -> None:
    """One connection: from byte `there` on, or from the start where the server does not do ranges."""
    # Compression by the server would make byte counts mean something else.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {there}-"
        )
        if not goes_on:
            bar.reset(total=size)
        with open(part, "ab" if goes_on else "wb") as file:
            # read1 gives what has come, where `iter_content` would throw away the last, broken chunk.
            while chunk := response.raw.read1(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > size:
                    return


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _plain(error: Exception) -> str:
    """An error without the inner workings of the network library."""
    if getattr(error, "response", None) is not None:
        return f"HTTP {error.response.status_code}"
    kinds = {requests.Timeout: "no answer in time", requests.ConnectionError: "no connection"}
    return next((text for kind, text in kinds.items() if isinstance(error, kind)), "the connection broke off")
