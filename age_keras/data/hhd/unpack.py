"""Unpack an archive that somebody else made: nothing lands outside, nothing bursts the disk."""

import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from tqdm import tqdm

from age_keras.data.table.gather import is_stray
from age_keras.errors import InputError

MAX_RATIO = 200  # unpacked to packed; pages of white paper reach about 70
MAX_FREE = 1 << 24  # bytes below which no ratio is absurd


def unpack(archive: str | Path, folder: str | Path, progress: bool = True) -> Path:
    """Unpacks a zip into a folder that is whole or not there.

    Stray files of file managers are left out and top folders that hold everything are taken away.

    Args:
        archive: the zip file.
        folder: the folder to make; must not exist, or be empty.
        progress: show a progress bar. Defaults to True.

    Raises:
        InputError: the archive is damaged or encrypted, a name in it leads outside, is a link or comes twice, it
            would grow absurdly, or there is no space for it.
    """
    archive, folder = Path(archive), Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as file:
            entries = [entry for entry in file.infolist() if not entry.is_dir()]
            names = [_safe_name(archive, entry) for entry in entries]
            _check_size(archive, entries, folder.parent)
            temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
            try:
                pairs = [(entry, name) for entry, name in zip(entries, names, strict=True) if not _is_stray(name)]
                for entry, name in tqdm(pairs, desc="Unpacking", unit="file", disable=not progress):
                    _extract(file, archive, entry, temporary / name)
                top = _without_top(temporary)
                if folder.is_dir():
                    folder.rmdir()
                top.chmod(0o755)
                os.replace(top, folder)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise InputError(f"{archive} is a damaged zip file ({error}): delete it and fetch it again.") from error
    return folder


def _safe_name(archive: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or PureWindowsPath(name).drive:
        raise InputError(f"{archive}: {entry.filename!r} leads outside the folder; nothing was unpacked.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise InputError(f"{archive}: {entry.filename!r} is a link; nothing was unpacked.")
    if entry.flag_bits & 1:
        raise InputError(f"{archive}: {entry.filename!r} is encrypted; nothing was unpacked.")
    return name


def _check_size(archive: Path, entries: list[zipfile.ZipInfo], parent: Path) -> None:
    size, packed = sum(entry.file_size for entry in entries), archive.stat().st_size
    if size > max(MAX_RATIO * packed, MAX_FREE):
        raise InputError(
            f"{archive} would grow from {packed} to {size} bytes; that is no data set, it is not unpacked."
        )
    free = shutil.disk_usage(parent).free
    if size > free:
        raise InputError(f"{archive} needs {size} bytes in {parent}, where {free} are free.")


def _extract(file: zipfile.ZipFile, archive: Path, entry: zipfile.ZipInfo, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # ZipExtFile never gives more than the size in the entry, and checks the CRC at its end.
        with file.open(entry) as source, open(path, "xb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except FileExistsError:
        raise InputError(f"{archive} holds {entry.filename!r} twice; nothing was unpacked.") from None


def _is_stray(name: PurePosixPath) -> bool:
    return any(is_stray(part) for part in name.parts)


def _without_top(folder: Path) -> Path:
    """The folder itself, or the only folder within it, or within that."""
    inside = list(folder.iterdir())
    while len(inside) == 1 and inside[0].is_dir():
        folder = inside[0]
        inside = list(folder.iterdir())
    return folder
