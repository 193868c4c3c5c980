"""EMNIST (Cohen et al. 2017): all six splits, from NIST's archives or loose IDX files, turned upright."""

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from age_keras.characters.data.array_files import find_idx, parse_idx, read_idx
from age_keras.characters.data.characters import Characters, join_published
from age_keras.errors import InputError

_DIGITS = "0123456789"
_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MERGED = "abdefghnqrt"  # Lower-case letters that keep a class of their own where case is merged.

# The classes of each split in the order of its labels (the archive's `emnist-<split>-mapping.txt`).
CLASSES = {
    "byclass": tuple(_DIGITS + _UPPER + _UPPER.lower()),
    "bymerge": tuple(_DIGITS + _UPPER + _MERGED),
    "balanced": tuple(_DIGITS + _UPPER + _MERGED),
    "letters": tuple(_UPPER),
    "digits": tuple(_DIGITS),
    "mnist": tuple(_DIGITS),
}

_HOW = (
    "EMNIST is at https://www.nist.gov/itl/products-and-services/emnist-dataset: download gzip.zip (or matlab.zip) and "
    "give it, or the folder of its files, with --path."
)


def load_emnist(path: str | Path | None, split: str = "balanced") -> Characters:
    """Reads one split of EMNIST.

    Args:
        path: NIST's `gzip.zip` or `matlab.zip`, a folder with either's files, or one `emnist-<split>.mat`.
        split: byclass, bymerge, balanced, letters, digits or mnist. Defaults to "balanced".

    Returns:
        Its characters, upright (the files hold them transposed); writers where the file names them (`.mat` does).

    Raises:
        InputError: an unknown split, or files that are missing; it says where to get them.
    """
    if split not in CLASSES:
        raise InputError(f"EMNIST has no split {split!r}; it has {', '.join(CLASSES)}.")
    if path is None or not Path(path).exists():
        raise InputError(f"EMNIST's files are missing{'' if path is None else f' at {path}'}. {_HOW}")
    path = Path(path)
    if path.is_dir():
        parts = _from_folder(path, split)
    elif path.suffix == ".mat":
        named = next((s for s in CLASSES if path.stem.startswith(f"emnist-{s}")), split)
        if named != split:
            raise InputError(f"{path} is EMNIST's split {named!r}, not {split!r}; give emnist-{split}.mat.")
        parts = _from_mat(path.read_bytes(), path)
    else:
        parts = _from_zip(path, split)
    if parts is None:
        raise InputError(f"{path} does not hold the files of EMNIST's split {split!r}. {_HOW}")
    images, labels, where = join_published(parts["train"][:2], parts["test"][:2], path)
    if split == "letters" and len(labels) and labels.min() >= 1:
        labels = labels - 1  # Counted from 1, in this split alone.
    writers = [parts[p][2] for p in ("train", "test")]
    return Characters(
        images=np.ascontiguousarray(images.transpose(0, 2, 1)),
        labels=labels,
        classes=CLASSES[split],
        split=where,
        writers=None if writers[0] is None else np.concatenate(writers).astype(np.int64),
        name=f"emnist-{split}",
    )


def _names(split: str, part: str) -> tuple[str, str]:
    return f"emnist-{split}-{part}-images-idx3-ubyte", f"emnist-{split}-{part}-labels-idx1-ubyte"


def _from_folder(folder: Path, split: str) -> dict | None:
    parts = {}
    for part in ("train", "test"):
        images, labels = (find_idx(folder, name) for name in _names(split, part))
        if images is None or labels is None:
            found = next(iter(sorted(folder.rglob(f"emnist-{split}.mat"))), None)
            return _from_mat(found.read_bytes(), found) if found else None
        parts[part] = (read_idx(images), read_idx(labels), None)
    return parts


def _from_zip(path: Path, split: str) -> dict | None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {Path(n).name: n for n in archive.namelist()}
            if member := members.get(f"emnist-{split}.mat"):
                return _from_mat(archive.read(member), f"{path}: {member}")
            parts = {}
            for part in ("train", "test"):
                found = [members.get(f"{name}.gz") or members.get(name) for name in _names(split, part)]
                if None in found:
                    return None
                parts[part] = (*(parse_idx(archive.read(name), f"{path}: {name}") for name in found if name), None)
            return parts
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise InputError(f"{path} is not a zip file, or is damaged or cut short ({error}). {_HOW}") from error


def _from_mat(data: bytes, name: str | Path) -> dict:
    """NIST's Matlab files: images as rows of 784 in Matlab's column order, which is the IDX files' order too."""
    import scipy.io

    try:
        dataset = scipy.io.loadmat(io.BytesIO(data), simplify_cells=True)["dataset"]
        return {
            part: (
                np.asarray(dataset[part]["images"], np.uint8).reshape(-1, 28, 28),
                np.asarray(dataset[part]["labels"]).ravel().astype(np.int64),
                np.asarray(dataset[part]["writers"]).ravel() if "writers" in dataset[part] else None,
            )
            for part in ("train", "test")
        }
    except Exception as error:  # SciPy raises whatever a damaged file leads it to.
        raise InputError(f"{name} is not a Matlab file of EMNIST, or is cut short ({error}). {_HOW}") from error
