"""Everything a training needs to go on: all variables, all optimizer slots, and the counters of its callbacks.

`.keras` files lose part of this (frozen flags inside composite layers, and with them the optimizer's slots), so the
state is the plain list of arrays in the model's own order, for a model that is built again by the same code.
"""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from age_keras.files import atomic_write


def save_state(path: Path, model: keras.Model, counters: dict[str, Any]) -> None:
    """Writes a model's variables, its optimizer's and JSON-able counters into one `.npz` file, atomically."""
    arrays = {f"model_{i}": v.numpy() for i, v in enumerate(model.variables)}
    if model.optimizer is not None:
        arrays |= {f"optimizer_{i}": v.numpy() for i, v in enumerate(model.optimizer.variables)}
    with atomic_write(path, "wb") as file:
        np.savez(file, counters=np.array(json.dumps(counters)), **arrays)


def load_counters(path: Path) -> dict[str, Any] | None:
    """The counters of a state file, or None where there is no whole one."""
    try:
        with np.load(path) as data:
            return json.loads(data["counters"].item())
    except (OSError, ValueError, KeyError):
        return None


def load_state(path: Path, model: keras.Model) -> None:
    """Puts a state's arrays back into a model, and into its optimizer (which must be built)."""
    with np.load(path) as data:
        for i, variable in enumerate(model.variables):
            variable.assign(data[f"model_{i}"])
        if model.optimizer is not None:
            for i, variable in enumerate(model.optimizer.variables):
                variable.assign(data[f"optimizer_{i}"])


def snapshot(model: keras.Model) -> list[np.ndarray]:
    """A copy of a model's weights."""
    return [w.copy() for w in model.get_weights()]
