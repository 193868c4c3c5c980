"""Files that are whole or not there, and the folder for what can be computed again."""

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from age_keras.errors import InputError


@contextlib.contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a temporary file beside `path` that takes its name when the block ends without an error.

    Args:
        path: the file to write; its folder is made.
        mode: `w` (UTF-8 text, `\\n` line ends) or `wb`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Raises InputError, which names the file or folder that a user asked for, where writing it fails."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None


def write_json(path: str | Path, value: Any) -> None:
    """Writes a value as indented JSON, atomically; paths become strings, and NaN, which JSON does not have, null."""
    with atomic_write(path) as file:
        json.dump(_without_nan(value), file, indent=2, ensure_ascii=False, default=str)
        file.write("\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def cache_dir() -> Path:
    """The folder for what can be computed again: `AGE_KERAS_CACHE`, or the user's cache folder."""
    if chosen := os.environ.get("AGE_KERAS_CACHE"):
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("age_keras", appauthor=False))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
