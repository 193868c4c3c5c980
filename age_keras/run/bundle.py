"""A saved model that keeps what its predictions need: one `.keras` archive with our facts in it.

A `.keras` file is a zip archive; `age_keras.json` is one more member of it, which Keras leaves alone. So the page
settings, the calibration and the origin of a model cannot be separated from its weights.
"""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras

from age_keras.errors import InputError

MEMBER = "age_keras.json"


def save_bundle(path: Path, model: keras.Model, facts: dict[str, Any]) -> None:
    """Writes a model and its facts into one `.keras` file, atomically.

    Args:
        path: The file; its folder is created.
        model: The model. A compiled model is saved with its optimizer.
        facts: What JSON can hold, under names of their own. `"kind"` says what the model is for: `"age"` or
            `"characters"`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(MEMBER, json.dumps(facts, indent=2, ensure_ascii=False, default=str))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_facts(path: Path, plain: bool = False) -> dict[str, Any]:
    """The facts of a bundle; of a Keras file without facts an empty dictionary, if such a `plain` file will do.

    Raises:
        InputError: The file is missing or not a bundle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {} if plain and MEMBER not in archive.namelist() else json.loads(archive.read(MEMBER))
    except FileNotFoundError:
        raise InputError(f"There is no model {path}.") from None
    except (zipfile.BadZipFile, KeyError, IsADirectoryError, json.JSONDecodeError):
        raise InputError(
            f"{path} is not a model of age_keras: give a .keras file from a run's checkpoints folder."
        ) from None


def load_bundle(path: Path, kind: str, plain: bool = False) -> tuple[keras.Model, dict[str, Any]]:
    """A saved model and its facts.

    Args:
        path: A `.keras` file from a run's `checkpoints/`.
        kind: What the model must be for: `"age"` or `"characters"`. The modules that define its layers have to be
            imported before.
        plain: Whether a Keras file without facts will do, too; what it holds is the caller's to check. Defaults to
            `False`.

    Returns:
        The model, not compiled, and its facts.

    Raises:
        InputError: The file is missing, not a bundle, or holds a model of another kind.
    """
    facts = read_facts(path, plain)
    if facts.get("kind", kind if plain else None) != kind:
        raise InputError(f"{path} holds a model of the kind {facts.get('kind')}; one of the kind {kind} is needed.")
    try:
        return keras.models.load_model(path, compile=False), facts
    except (TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} cannot be loaded as a Keras model: {reason}") from error
