"""Checks of how a run was trained and on what, from what it recorded; silent for a bare table of predictions."""

from collections.abc import Iterator
from typing import Any

from age_keras.evaluation.evaluate import Evaluation
from age_keras.evaluation.finding import Check, and_list

# Families whose published weights were trained on pixels / 255, so that the study's preprocessing suits them.
_TRAINED_ON_UNIT_RANGE = ("mobilevit", "mobile_vit")


def _selection_set(e: Evaluation) -> Iterator[Check]:
    advice = "Score pages that had no part in choosing the model, its epoch or its settings."
    val = e.label_splits.get("val", 0)
    if e.split == "val" or (e.label_splits and val == len(e.aligned.pages)):
        message = "The scored pages are the validation split, on which models are usually chosen."
        yield Check("AK002", "Scored on the selection set", "warning", message, advice)
    elif _values(e.config, "selection") & {"published"}:
        message = "The best epoch was chosen on the very pages that are scored (`published` selection)."
        yield Check("AK002", "Scored on the selection set", "error", message, advice)


def _unshuffled(e: Evaluation) -> Iterator[Check]:
    if False in _values(e.config, "shuffle"):
        message = "The training pages were not shuffled, so that a batch held the patches of a few pages."
        yield Check("AK007", "Unshuffled training", "warning", message, "Train again with shuffling.")


def _input_range(e: Evaluation) -> Iterator[Check]:
    if "published" in _values(e.config, "preprocessing"):
        names = sorted(_values(e.config, "backbone") | _values(e.config, "backbones"), key=str)
        wrong = [str(n) for n in names if not str(n).startswith(_TRAINED_ON_UNIT_RANGE)]
        if wrong:
            message = f"The study's preprocessing (pixels / 255) does not suit {and_list(wrong)}."
            advice = "Train with `native` preprocessing, unless you reproduce the study."
            yield Check("AK008", "Input range", "warning", message, advice)


def _synthetic(e: Evaluation) -> Iterator[Check]:
    if e.synthetic:
        message = "The pages are synthetic: these figures say that the pipeline works, nothing about handwriting."
        yield Check("AK012", "Synthetic data", "note", message, "Judge a model on pages that people wrote.")


def _skipped_pages(e: Evaluation) -> Iterator[Check]:
    n = next((len(s) for key in ("skipped", "skipped_pages") if isinstance(s := e.environment.get(key), list)), 0)
    if n:
        message = (
            f"{n} page{'s were' if n > 1 else ' was'} skipped because {'they' if n > 1 else 'it'} could not be used."
        )
        advice = "See environment.json for the reasons, and mend the files or labels."
        yield Check("AK016", "Skipped pages", "note", message, advice)


TRAINING_CHECKS = (_selection_set, _unshuffled, _input_range, _synthetic, _skipped_pages)


def _values(config: Any, key: str) -> set:
    """Every plain value of a key, however deep in a configuration."""
    found: set = set()
    if isinstance(config, dict):
        for name, value in config.items():
            if name == key:
                found |= {v for v in (value if isinstance(value, list) else [value]) if isinstance(v, str | bool | int)}
            found |= _values(value, key)
    elif isinstance(config, list):
        for value in config:
            found |= _values(value, key)
    return found
