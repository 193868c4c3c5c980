"""The files that sets of characters are published in: IDX (MNIST, EMNIST) and NumPy's `.npz` (Keras' MNIST)."""

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from age_keras.errors import InputError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path) -> np.ndarray:
    """Reads an IDX file (format: http://yann.lecun.com/exdb/mnist, "the IDX file format").

    Args:
        path: The file, plain or gzipped.

    Returns:
        The array in its published shape, in native byte order.

    Raises:
        InputError: the file is not IDX, or is cut short.
    """
    try:
        return parse_idx(Path(path).read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error


def parse_idx(data: bytes, name: str) -> np.ndarray:
    """As `read_idx`, from the bytes of a file; `name` is the file's, for the message."""
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} is damaged or cut short ({error}); download it again.") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES:
        raise InputError(f"{name} is not an IDX file; such files start with two zero bytes and a type.")
    axes, kind = data[3], np.dtype(_TYPES[data[2]])
    start = 4 + 4 * axes
    if len(data) < start:
        raise InputError(f"{name} is cut short within its header; download it again.")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", axes, 4))
    wanted = math.prod(shape) * kind.itemsize
    if len(data) - start != wanted:
        raise InputError(
            f"{name} holds {len(data) - start} bytes where its header promises {wanted}; download it again."
        )
    return np.frombuffer(data, kind, offset=start).reshape(shape).astype(kind.newbyteorder("="))


def find_idx(folder: Path, *names: str) -> Path | None:
    """The first of these IDX files in a folder or right below it: with or without `.gz`, `-` or `.` before `idx`."""
    for name in names:
        for form in (name, name.replace("-idx", ".idx")):
            for suffix in ("", ".gz"):
                for at in (folder / (form + suffix), *sorted(folder.glob(f"*/{form}{suffix}"))):
                    if at.is_file():
                        return at
    return None


def read_npz(path: str | Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads some arrays of a file.

    Args:
        path: The file.
        names: Names of the arrays.

    Returns:
        Each array by its name.

    Raises:
        InputError: the file is missing, is no `.npz`, is damaged or cut short, or lacks an array.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    if not zipfile.is_zipfile(path):  # The directory of a zip stands at its end, so one that is cut has none.
        raise InputError(f"{path} is not an .npz file, or is cut short; download it again.")
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in names if name in file}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError) as error:
        raise InputError(f"{path} is damaged ({error}); download it again.") from error
    if missing := [name for name in names if not isinstance(found.get(name), np.ndarray)]:
        raise InputError(f"{path} lacks the array{'s' if len(missing) > 1 else ''} {', '.join(missing)}.")
    return found
