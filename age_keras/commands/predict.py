"""The age of the writer of each page, from a saved model."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from age_keras.errors import InputError


def main(
    model: tyro.conf.Positional[Path],
    pages: tyro.conf.Positional[tuple[Path, ...]],
    coverage: Annotated[float, Interval(gt=0, lt=1)] = 0.9,
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False,
) -> int:
    """Prints one line a page: the age in years, its interval, and how many patches were used.

    Args:
        model: a .keras file from a run's checkpoints folder.
        pages: images, or folders of images.
        coverage: fraction of writers whose age the interval is made to hold, in (0, 1).
        as_json: print JSON instead.

    Returns:
        0, or 2 where a page could not be read.
    """
    if not pages:
        raise InputError("No page was given: name images, or folders of images.")
    if not model.is_file():
        raise InputError(f"There is no model {model}: give a run's checkpoints/*.keras.")
    from age_keras.deploy.predictor import Predictor

    predictor = Predictor(model)
    answers = predictor.predict(pages, coverage)
    if as_json:
        print(
            json.dumps(
                {
                    "model": str(model),
                    "synthetic": predictor.synthetic,
                    "pages": [dataclasses.asdict(answer) for answer in answers],
                },
                indent=2,
            )
        )
    else:
        if predictor.synthetic:
            print(
                "Warning: the model was trained on synthetic pages; its age estimates are not meaningful for real "
                "handwriting.",
                file=sys.stderr,
            )
        for answer in answers:
            print(_line(answer))
    return 2 if any(answer.error for answer in answers) else 0


def _line(answer) -> str:
    if answer.error:
        return f"{answer.page}\terror: {answer.error}"
    interval = f" ({answer.lower:.0f}–{answer.upper:.0f}, {answer.coverage:.0%})" if answer.lower is not None else ""
    blank = ", no ink found" if answer.blank else ""
    return f"{answer.page}\t{answer.age:.1f} years{interval}\t{answer.patches} patches{blank}"
