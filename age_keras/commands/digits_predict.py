"""Read pictures of single digits or letters, with the confidence of each answer."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from age_keras.errors import InputError


def main(
    model: tyro.conf.Positional[Path],
    images: tyro.conf.Positional[tuple[Path, ...]],
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Prints one line per image: the character, its probability, the conformal set, and "unsure" where it applies.

    Args:
        model: A .keras file from the checkpoints folder of a digits experiment.
        images: Pictures of one character each, of any size, dark on light or light on dark.
        as_json: Print JSON instead.

    Returns:
        0, or 2 if an image could not be read.
    """
    if not images:
        raise InputError("No image was given: name pictures of one character each.")
    if not model.is_file():
        raise InputError(f"There is no model {model}: give a .keras file from a run's checkpoints folder.")
    from age_keras.characters.reader import Recogniser

    readings = Recogniser(model).read(images)
    if as_json:
        print(json.dumps({"model": str(model), "images": [dataclasses.asdict(r) for r in readings]}, indent=2))
    else:
        for reading in readings:
            print(_line(reading))
    return 2 if any(r.error for r in readings) else 0


def _line(reading) -> str:
    if reading.error:
        return f"{reading.image}: error: {reading.error}"
    sure = "unsure, perhaps " if reading.unsure else ""
    return f"{reading.image}: {sure}{reading.digit} ({100 * reading.probability:.1f} %), one of {' '.join(reading.set)}"
