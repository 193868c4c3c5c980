"""Everything a training needs to go on: its variables, the optimizer's slots, the best so far, and the counters.

`.keras` files lose part of this (frozen flags inside composite layers, and with them the optimizer's slots), so the
state is plain lists of arrays, for a model that is built again by the same code with the same seed.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from age_keras.files import atomic_write


def save_state(path: Path, variables: Sequence, slots: Sequence, best: Sequence, counters: dict[str, Any]) -> None:
    """Writes variables, optimizer slots, the best epoch's arrays and JSON-able counters into one `.npz`, atomically."""
    groups = {"variable": variables, "slot": slots, "best": best}
    arrays: dict[str, Any] = {
        f"{name}_{i}": to_array(v) for name, values in groups.items() for i, v in enumerate(values)
    }
    with atomic_write(path, "wb") as file:
        np.savez(file, counters=np.array(json.dumps(counters)), **arrays)


def load_state(path: Path) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]] | None:
    """The counters and the arrays under `variable`, `slot` and `best`; None where there is no whole state."""
    try:
        with np.load(path) as data:
            counters = json.loads(data["counters"].item())
            groups: dict[str, list] = {"variable": [], "slot": [], "best": []}
            for name, arrays in groups.items():
                while f"{name}_{len(arrays)}" in data:
                    arrays.append(data[f"{name}_{len(arrays)}"])
            return counters, groups
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def assign(variables: Sequence, arrays: Sequence[np.ndarray]) -> None:
    """Gives variables their values back, in order."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def to_array(variable) -> np.ndarray:
    """A copy of a variable's value, as numpy can store it."""
    array = np.asarray(keras.ops.convert_to_numpy(variable))
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array.copy()
