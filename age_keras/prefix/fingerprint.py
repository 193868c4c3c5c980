"""What a part of a model computes with, in one hash: its layers, their settings and wiring, and their weights."""

import hashlib
import json
from collections.abc import Sequence

import keras
import numpy as np

from age_keras.prefix.graph import Call, CallsModel, Slot, settings

NAMING = ("name", "trainable", "seed")


def fingerprint(part: CallsModel) -> str:
    """The hash, equal for two builds of the same model with the same weights."""
    digest = hashlib.sha256(json.dumps(_architecture(part.calls), sort_keys=True, default=_plain).encode())
    for variable in part.weights:
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def _architecture(calls: Sequence[Call]) -> list:
    """What the calls compute, without the names of layers, which differ between two builds of the same model."""
    order: dict[Slot, int] = {}
    layers: dict[int, int] = {}
    lines = []
    for call in calls:
        inputs = [order.setdefault(slot, len(order)) for _, slot in call.bind]
        outputs = [order.setdefault(slot, len(order)) for slot in call.outputs]
        layer = layers.setdefault(id(call.operation), len(layers))  # The weights are listed once for each layer.
        kind = f"{type(call.operation).__module__}.{type(call.operation).__name__}"
        given = settings(call)
        own = {key: _nameless(value) for key, value in given["own"].items() if key not in NAMING}
        lines.append([kind, layer, own, [_nameless(value) for value in given["arguments"]], inputs, outputs])
    return lines


def _nameless(config):
    """Leaves out how the layers inside a layer are called; a name of anything else, such as a precision, says what."""
    if isinstance(config, dict):
        layer = "trainable" in config or "class_name" in config
        return {str(k): _nameless(v) for k, v in config.items() if k not in (NAMING if layer else ("seed",))}
    if isinstance(config, list | tuple):
        return [_nameless(value) for value in config]
    return config


def _plain(value) -> str:
    """For JSON: an array by its bytes, anything else as it prints."""
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"
    return repr(value)
