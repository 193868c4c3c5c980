"""Pictures of single characters of any size, made into the square bright-on-dark images that a recogniser reads."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from age_keras.characters.data.characters import Characters
from age_keras.data.patches.decode import IMAGES, decode_page
from age_keras.errors import InputError

_HOW = (
    "Give a folder with a folder of images per class: <folder>/<class>/<image>.png (or train/ and test/ above these)."
)


def read_character(path: str | Path, image_size: int = 28, centre: bool = True) -> np.ndarray:
    """Reads a picture of one character as a recogniser expects it: bright ink on 0, fitted into a square.

    Dark ink on light paper, told by the border, is inverted. With `centre` the ink's box is scaled to 20/28 of the side
    and its centre of mass put in the middle, as MNIST was made (LeCun et al. 1998); a picture that already has the
    recogniser's size is assumed to be prepared so, and left as it is.

    Args:
        path: The picture.
        image_size: Side of the result in pixels. Defaults to 28.
        centre: Whether to crop to the ink and centre it, instead of fitting the whole picture in. Defaults to `True`.

    Returns:
        `uint8 (image_size, image_size)`.
    """
    grey = np.asarray(decode_page(path, channels=1))
    return prepare_character(grey, image_size, centre)


def prepare_character(grey: np.ndarray, image_size: int = 28, centre: bool = True) -> np.ndarray:
    """As `read_character`, from the grey pixels `uint8 (H, W)`."""
    import cv2

    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    if np.median(border) > 127:
        grey = 255 - grey
    if grey.shape == (image_size, image_size):
        return np.ascontiguousarray(grey)
    out = np.zeros((image_size, image_size), np.uint8)
    side = image_size
    if centre:
        floor = int(np.median(border if np.median(border) <= 127 else 255 - border))
        grey = np.clip(grey.astype(np.int16) - floor, 0, 255).astype(np.uint8)
        level, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
        rows, columns = np.nonzero(grey > max(level * 0.5, 24))
        if not len(rows):
            return out
        grey = grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        side = round(image_size * 20 / 28)
        grey = (grey * (255 / grey.max())).astype(np.uint8)
    height, width = grey.shape
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (image_size - grey.shape[0]) / 2, (image_size - grey.shape[1]) / 2
    if centre and (mass := grey.sum(dtype=np.float64)):
        top = image_size / 2 - (grey.sum(axis=1) @ (np.arange(grey.shape[0]) + 0.5)) / mass
        left = image_size / 2 - (grey.sum(axis=0) @ (np.arange(grey.shape[1]) + 0.5)) / mass
    top = int(np.clip(round(top), 0, image_size - grey.shape[0]))
    left = int(np.clip(round(left), 0, image_size - grey.shape[1]))
    out[top : top + grey.shape[0], left : left + grey.shape[1]] = grey
    return out


def characters_from_files(
    paths: Sequence[Path],
    labels: np.ndarray,
    classes: tuple[str, ...],
    image_size: int,
    name: str,
    split: np.ndarray | None = None,
    centre: bool = False,
) -> Characters:
    """Reads pictures into one set of characters; several threads decode."""
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor() as pool:
        images = list(pool.map(lambda p: read_character(p, image_size, centre), paths))
    return Characters(
        images=np.stack(images) if images else np.zeros((0, image_size, image_size), np.uint8),
        labels=np.asarray(labels, np.int64),
        classes=classes,
        split=np.full(len(images), "train") if split is None else split,
        name=name,
    )


def load_folder(path: str | Path | None, image_size: int = 28, centre: bool = False) -> Characters:
    """A folder of pictures per class, in any script: the folders' names are the classes.

    Args:
        path: `<class>/<image>`, or `train/<class>/<image>` and `test/<class>/<image>`.
        image_size: Side of the squares that the pictures are fitted into. Defaults to 28.
        centre: Whether to crop each to its ink first, as MNIST was made. Defaults to `False`.

    Raises:
        InputError: The folder is missing, holds fewer than two classes, or a picture cannot be read.
    """
    if path is None or not Path(path).is_dir():
        raise InputError(f"The folder of characters is missing{'' if path is None else f': {path}'}. {_HOW}")
    path = Path(path)
    parts = [p for p in ("train", "test") if (path / p).is_dir()] if (path / "train").is_dir() else [""]
    files, names, split = [], [], []
    for part in parts:
        for folder in sorted(p for p in (path / part).iterdir() if p.is_dir() and not p.name.startswith(".")):
            found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in IMAGES and f.is_file())
            files += found
            names += [folder.name] * len(found)
            split += [part or "train"] * len(found)
    classes, labels = np.unique(np.array(names, dtype=str), return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"{path} holds images of {len(classes)} classes; at least two are needed. {_HOW}")
    return characters_from_files(
        files, labels, tuple(map(str, classes)), image_size, path.name, np.array(split), centre
    )
