"""A model file that keeps what its predictions need: one `.keras` archive with our facts in it.

A `.keras` file is a zip archive; `age_keras.json` is one more member of it, which Keras leaves alone. So the page
settings, the intervals' calibration and where the model comes from cannot be separated from the weights.
"""

import importlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras

from age_keras.errors import InputError

MEMBER = "age_keras.json"


def save_bundle(path: Path, model: keras.Model, facts: dict[str, Any]) -> None:
    """Writes a model and its facts into one `.keras` file, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        model.save(temporary)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.writestr(MEMBER, json.dumps(facts, indent=2, ensure_ascii=False, default=str))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def add_facts(path: Path, facts: dict[str, Any]) -> None:
    """Adds facts to a bundle, replacing those of the same name."""
    merged = {**read_facts(path), **facts}
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.keras")
    try:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(temporary, "w") as new:
            for item in old.infolist():
                if item.filename != MEMBER:
                    new.writestr(item, old.read(item))
            new.writestr(MEMBER, json.dumps(merged, indent=2, ensure_ascii=False, default=str))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a bundle. Raises `InputError` where the file is none of ours."""
    try:
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read(MEMBER))
    except FileNotFoundError:
        raise InputError(f"There is no model {path}.") from None
    except (zipfile.BadZipFile, KeyError, IsADirectoryError, json.JSONDecodeError):
        raise InputError(
            f"{path} is not a model of age_keras: give a .keras file from a run's checkpoints folder."
        ) from None


def load_bundle(path: Path) -> tuple[keras.Model, dict[str, Any]]:
    """The model and its facts. Raises `InputError` where the file is none of ours."""
    facts = read_facts(path)
    for module in ("age_keras.backbones.layers", "age_keras.models.heads"):
        importlib.import_module(module)  # registers our layers with Keras
    return keras.models.load_model(path, compile=False), facts
