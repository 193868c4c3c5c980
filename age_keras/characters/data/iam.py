"""The IAM handwriting database (Marti & Bunke 2002): its words and lines, with text and writer, in its own layout.

ascii/words.txt  ascii/lines.txt  ascii/forms.txt
words/a01/a01-000u/a01-000u-00-00.png      lines/a01/a01-000u/a01-000u-00.png
"""

from pathlib import Path
from typing import Literal

import numpy as np

from age_keras.characters.data.characters import Characters
from age_keras.characters.data.images import characters_from_files
from age_keras.errors import InputError

# Words: name, result, grey, x, y, w, h, tag, text; lines: name, result, grey, components, x, y, w, h, text.
TEXT = 8

_HOW = (
    "IAM is at https://fki.tic.heia-fr.ch/databases/iam-handwriting-database (free for research, after "
    "registration): unpack ascii.tgz and words.tgz (or lines.tgz) into the folder as `ascii/` and `words/`."
)


def read_iam(folder: str | Path, level: Literal["words", "lines"] = "words", *, only_ok: bool = True):
    """Reads the table of IAM's words or lines.

    Args:
        folder: The folder with `ascii/` (or the `.txt` files themselves) and `words/` or `lines/`.
        level: "words" or "lines". Defaults to "words".
        only_ok: Whether to leave out what IAM marks as badly segmented. Defaults to `True`.

    Returns:
        A DataFrame: `path`, `name` (a01-000u-00-00), `form` (a01-000u), `text` (words as written, a line's words
        apart by spaces), `tag` (grammatical; words only), `grey` (ink threshold), `writer` (three digits; the form's
        name where `forms.txt` is missing).

    Raises:
        InputError: a file is missing (says how to get it) or a row cannot be read (names it).
    """
    import pandas as pd

    folder = Path(folder)
    if level not in ("words", "lines"):
        raise InputError(f"IAM has words and lines, not {level!r}.")
    table = _find(folder, f"{level}.txt")
    if table is None:
        raise InputError(f"{folder} has no ascii/{level}.txt. {_HOW}")
    forms = _find(folder, "forms.txt")
    writers = dict(line.split(" ")[:2] for line in _lines(forms)) if forms else {}
    rows = []
    for line in _lines(table):
        fields = line.split(" ")
        name = fields[0]
        parts = name.split("-")
        if len(fields) <= TEXT or len(parts) < 3 or fields[1] not in ("ok", "er", "err"):
            raise InputError(f"{table}: this row is not one of IAM's {level}: {line[:80]!r}.")
        if only_ok and fields[1] != "ok":
            continue
        form = "-".join(parts[:2])
        text = " ".join(fields[TEXT:])
        rows.append(
            {
                "path": folder / level / parts[0] / form / f"{name}.png",
                "name": name,
                "form": form,
                "text": text if level == "words" else text.replace("|", " "),
                "tag": fields[TEXT - 1] if level == "words" else "",
                "grey": int(fields[2]),
                "writer": writers.get(form, form),
            }
        )
    return pd.DataFrame(rows, columns=["path", "name", "form", "text", "tag", "grey", "writer"])


def load_iam(
    folder: str | Path | None,
    level: Literal["words", "lines"] = "words",
    label: Literal["writer", "text"] = "writer",
    image_size: int = 28,
    min_count: int = 2,
) -> Characters:
    """IAM's words or lines as images with a class: who wrote it, or what is written.

    Args:
        folder: See `read_iam`.
        level: "words" or "lines". Defaults to "words".
        label: The class: "writer" or "text". Defaults to "writer".
        image_size: Side of the squares that the images are fitted into. Defaults to 28.
        min_count: Classes with fewer images are left out. Defaults to 2.

    Returns:
        The characters, their writers with them; `split` is all "train" (IAM's own partitions are for text lines of
        writers that are not in common: use `writer_holdout`). Images that are missing or empty files (the published
        words have two) are left out.

    Raises:
        InputError: the folder, its tables or all of its images are missing, or fewer than two classes are left.
    """
    if folder is None or not Path(folder).is_dir():
        raise InputError(f"IAM's folder is missing{'' if folder is None else f': {folder}'}. {_HOW}")
    if label not in ("writer", "text"):
        raise InputError(f"IAM's label is writer or text, not {label!r}.")
    table = read_iam(folder, level)
    there = table[[p.is_file() and p.stat().st_size > 0 for p in table["path"]]]
    if there.empty:
        raise InputError(f"None of IAM's {len(table)} images is in {Path(folder) / level}. {_HOW}")
    table = there[there.groupby(label)[label].transform("size") >= min_count]
    if table[label].nunique() < 2:
        raise InputError(
            f"{folder}: IAM's {level} have fewer than two {label}s with {min_count} images; unpack more of them."
        )
    classes, labels = np.unique(table[label].to_numpy(str), return_inverse=True)
    _, writers = np.unique(table["writer"].to_numpy(str), return_inverse=True)
    characters = characters_from_files(
        list(table["path"]), labels, tuple(map(str, classes)), image_size, f"iam-{level}-{label}"
    )
    return characters.with_writers(writers)


def _find(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / "ascii" / name, folder / name) if p.is_file()), None)


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
