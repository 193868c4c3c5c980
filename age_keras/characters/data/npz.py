"""NumPy's `.npz` files, as Keras keeps MNIST in one: arrays by name."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from age_keras.errors import InputError


def read_npz(path: str | Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Reads some arrays of a file.

    Args:
        path: the file.
        names: of the arrays.

    Returns:
        Each array by its name.

    Raises:
        InputError: the file is missing, is no `.npz`, is damaged or cut short, or lacks an array.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}.")
    if not zipfile.is_zipfile(path):  # The directory of a zip stands at its end, so one that is cut has none.
        raise InputError(f"{path} is no .npz file, or is cut short; fetch it again.")
    try:
        with np.load(path) as file:
            found = {name: file[name] for name in names if name in file}
    except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError) as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again.") from error
    if missing := [name for name in names if not isinstance(found.get(name), np.ndarray)]:
        raise InputError(f"{path} lacks the array{'s' if len(missing) > 1 else ''} {', '.join(missing)}.")
    return found
