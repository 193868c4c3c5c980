"""A contact sheet of a cohort: a piece of a page of each of some writers, sorted by age."""

import csv
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from age_keras.data.synthetic.cohort import LABELS
from age_keras.errors import InputError
from age_keras.files import atomic_write

_PIECE = (230, 640)  # height, width in pixels of the page
_LABEL = 34


def check_preview_path(path: Path) -> None:
    """Refuses a path that is not a PNG file's, before any page is drawn."""
    if path.suffix.lower() != ".png":
        raise InputError(f"The contact sheet must be a .png file. Received: {path}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a .png file for the contact sheet.")


def write_preview(folder: str | Path, path: str | Path, writers: int = 24, columns: int = 3) -> None:
    """Writes a PNG with a labelled piece of one page of each of `writers` writers, evenly spaced in order of age.

    Args:
        folder: A cohort drawn by `synthesize`.
        path: The PNG file.
        writers: How many writers to show; all where the cohort has fewer.
        columns: Pieces side by side; ages run from the top left, row by row.
    """
    folder = Path(folder)
    with open(folder / LABELS, encoding="utf-8", newline="") as file:
        rows = {row["File"].split("_")[0]: row for row in csv.DictReader(file)}  # One page a writer.
    by_age = sorted(rows.values(), key=lambda row: float(row["Age"]))
    chosen = [by_age[i] for i in np.unique(np.linspace(0, len(by_age) - 1, writers).round().astype(int))]
    pieces = [_labelled_piece(folder / row["Set"] / row["File"], row) for row in chosen]
    while len(pieces) % columns:
        pieces.append(np.full_like(pieces[0], 255))
    sheet = np.vstack([np.hstack(pieces[i : i + columns]) for i in range(0, len(pieces), columns)])
    with atomic_write(path, "wb") as file:
        Image.fromarray(sheet).save(file, "PNG")


def _labelled_piece(page: Path, row: dict[str, str]) -> np.ndarray:
    with Image.open(page) as image:
        pixels = np.asarray(image)
    height, width = _PIECE
    # Where the writing begins: the first rows with a good deal of ink, at the right.
    dark = (pixels[:, width // 2 :] < 0.72 * np.median(pixels)).sum(axis=1)
    top = int(np.clip(np.argmax(dark > 12) - 18, 0, pixels.shape[0] - height))
    piece = np.full((height + _LABEL, width + 12), 255, np.uint8)
    piece[_LABEL:, 6:-6] = pixels[top : top + height, -width - 45 : -45]
    text = f"{row['Age']} years, {row['File'].split('_')[0]}"
    cv2.putText(piece, text, (8, _LABEL - 10), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 0, 1, cv2.LINE_AA)
    return piece
