"""The frozen prefix: a model cut in two, so that what never changes is computed once.

    cut = cut_model(model)              # after the `trainable` flags are set; again whenever they change
    if cut.prefix is not None:          # something can be cached
        features = cut.prefix(patches)  # a list of arrays, always as in inference
        cut.suffix.compile(...)
        cut.suffix.fit(features, ages)  # trains `model` itself: the same layers, the same variables
    else:
        cut.whole.compile(...)
        cut.whole.fit(patches, ages)

`cut.whole` is `model` from pixels to ages for *plain* training with the same result. Use it instead of `model.fit`:
Keras' `fit` runs the dropout and drop-connect of frozen layers, and overrides a recorded `training=False`; `whole`
holds still what `prefix` holds still. The trainable variables of `suffix` and `whole` are `model.trainable_variables`,
in that order, so an optimizer built for one fits the others. Predict and save with `model`.

What is frozen: every operation without a trainable ancestor. A layer without weights that acts in training only
(dropout, drop-connect) is still active where it is the head's: its name starts with "head", or its `trainable` flag is
set and no frozen layer with weights follows it, or none comes before it (augmentation inside the model).
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from age_keras.prefix.flops import count_multiply_adds
from age_keras.prefix.graph import (
    Call,
    CallsModel,
    Graph,
    Slot,
    draws_random_numbers,
    read_graph,
    settings,
    takes_training,
)


@dataclass(frozen=True)
class Boundary:
    """A tensor that crosses the cut: its shape without the batch, and its dtype."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * _itemsize(self.dtype)


@dataclass(frozen=True, eq=False)
class CutModel:
    """A model cut at the boundary between frozen and trainable.

    Attributes:
        model: The model that was cut.
        whole: `model` for plain training: inputs to outputs, the frozen part as in inference.
        prefix: Inputs to the list of boundary tensors, always as in inference; None where nothing can be cached.
        suffix: The list of boundary tensors to the model's outputs; None where nothing can be cached.
        boundary: The tensors that cross.
        suffix_fraction: The fraction of the multiply-adds that the suffix does; 1 where there is none.
        multiply_adds: Work of the whole model for one example, forward.
        graph: The whole model as calls.
        slots: The boundary's tensors in the graph.
    """

    model: keras.Model
    whole: keras.Model
    prefix: keras.Model | None
    suffix: keras.Model | None
    boundary: tuple[Boundary, ...]
    suffix_fraction: float
    multiply_adds: float
    graph: Graph
    slots: tuple[Slot, ...]

    @property
    def bytes_per_example(self) -> int:
        """What a cached example takes, in the boundary's own precision."""
        return sum(tensor.bytes for tensor in self.boundary)

    @property
    def limit(self) -> float:
        """How many times faster a training step can get: (1 + 2s) / (3s), a backward pass being two forward ones."""
        s = self.suffix_fraction
        return (1 + 2 * s) / (3 * s) if s else math.inf

    def fingerprint(self) -> str:
        """A hash of all that the prefix computes with: its layers, their settings and wiring, and their weights."""
        if self.prefix is None:
            raise ValueError(f"A cut without a prefix has no fingerprint. Received: model={self.model.name}")
        return _fingerprint(self.prefix)


def cut_model(model: keras.Model, slack: float = 0.02) -> CutModel:
    """Cuts a model where the frozen part ends.

    Of the cuts along the order of execution that leave at most `slack` more work in the suffix, the one with the fewest
    bytes is taken: the end of a block, where the frozen part ends with one. The model may be flat or nested,
    Sequential, use a layer twice, and have several inputs and outputs.

    Args:
        model: A built functional model whose layers carry their `trainable` flags.
        slack: The work that may be moved from the prefix to the suffix to save bytes, as a fraction of a training
            step's. Nothing is cached where the prefix does less than this fraction of the whole. Defaults to 0.02.

    Returns:
        The two parts, which share `model`'s layers and variables. Cut again after changing a `trainable` flag.

    Raises:
        ValueError: the model is not functional.
    """
    graph = read_graph(model)
    still = _still_calls(graph)
    work, by_example = count_multiply_adds(graph)
    total = sum(work.values()) or 1.0
    prefix = _cheapest(graph, still, work, by_example, slack)
    boundary = _boundary(graph, prefix)
    left = 1 - sum(work[call] for call in prefix) / total
    whole = CallsModel(graph, graph.calls, still, graph.inputs, graph.outputs, name=f"{model.name}_whole")
    if 1 - left <= slack:
        return CutModel(model, whole, None, None, (), 1.0, total, graph, ())
    inside = set(prefix)
    rest = [call for call in graph.calls if call not in inside]
    return CutModel(
        model,
        whole,
        CallsModel(graph, prefix, prefix, graph.inputs, boundary, list_outputs=True, name=f"{model.name}_prefix"),
        CallsModel(
            graph, rest, [c for c in still if c not in inside], boundary, graph.outputs, name=f"{model.name}_suffix"
        ),
        tuple(Boundary(tuple(graph.specs[slot].shape[1:]), graph.specs[slot].dtype) for slot in boundary),
        left,
        total,
        graph,
        tuple(boundary),
    )


def between(lower: CutModel, higher: CutModel) -> CallsModel | None:
    """What leads from one cut of a model to another above it; None where the lower one is not below the higher."""
    if lower.model is not higher.model or lower.prefix is None or higher.prefix is None:
        return None
    # Both graphs were read from the same model, in the same order: a tensor has the same slot in both.
    done = {slot for call in lower.prefix.calls for slot in call.outputs}
    calls = [call for call in higher.prefix.calls if done.isdisjoint(call.outputs)]
    made = {slot for call in calls for slot in call.outputs}
    needed = {slot for call in calls for slot in call.inputs}.union(higher.slots)
    if not calls or not needed <= made.union(lower.slots):
        return None
    name = f"{lower.model.name}_between"
    return CallsModel(higher.graph, calls, calls, lower.slots, higher.slots, list_outputs=True, name=name)


def _itemsize(dtype: str) -> int:
    """Bytes of one element, bfloat16 too."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _cheapest(
    graph: Graph, still: Sequence[Call], work: Mapping[Call, float], by_example: Collection[Slot], slack: float
) -> Sequence[Call]:
    """The calls before the cut: the one with the fewest bytes along the order of execution, and the last of these.

    No tensor crosses whose rows are not examples; where the slack leaves no such cut, it is the next one before.
    """
    sizes = {
        slot: math.prod(graph.specs[slot].shape[1:]) * _itemsize(graph.specs[slot].dtype)
        for slot in by_example
        if None not in graph.specs[slot].shape[1:]
    }
    # A training step of the suffix costs three times its forward work; what is moved to it is frozen: forward only.
    budget = slack * 3 * (sum(work.values()) - sum(work[call] for call in still))
    best, fewest, moved = 0, math.inf, 0.0
    for end in range(len(still), 0, -1):
        crossing = sum(sizes.get(slot, math.inf) for slot in _boundary(graph, still[:end]))
        if crossing < fewest:
            best, fewest = end, crossing
        moved += work[still[end - 1]]
        if moved > budget and best:
            break
    return still[:best]


def _boundary(graph: Graph, prefix: Collection[Call]) -> list[Slot]:
    """The tensors that cross from `prefix` to the rest of the graph, in the order in which they are computed."""
    inside = set(prefix)
    known = set(graph.inputs).union(*(call.outputs for call in inside))
    used = [slot for call in graph.calls if call not in inside for slot in call.inputs]
    return sorted(known.intersection([*used, *graph.outputs]))


def _still_calls(graph: Graph) -> list[Call]:
    """The calls that never change: no trainable ancestor, nothing random of the head's."""
    follows = _weights_follow(graph)
    moving: set[Slot] = set()
    weights_before: set[Slot] = set()
    still = []
    for call in graph.calls:
        before = not weights_before.isdisjoint(call.inputs)
        if moving.isdisjoint(call.inputs) and not _acts(call, before, call in follows):
            still.append(call)
        else:
            moving.update(call.outputs)
        if before or (call.is_layer and call.operation.weights):
            weights_before.update(call.outputs)
    return still


def _weights_follow(graph: Graph) -> set[Call]:
    """The calls that a frozen layer with weights follows, with nothing trainable in between or before it."""
    changing: set[Slot] = set()
    frozen = set()
    for call in graph.calls:
        if not changing.isdisjoint(call.inputs) or _learns(call):
            changing.update(call.outputs)
        elif call.is_layer and call.operation.weights:
            frozen.add(call)
    wanted: set[Slot] = set()
    follows = set()
    for call in reversed(graph.calls):
        if not wanted.isdisjoint(call.outputs):
            follows.add(call)
        if call in follows or call in frozen:
            wanted.update(call.inputs)
    return follows


def _learns(call: Call) -> bool:
    """Whether training changes the layer: its weights, or statistics that it collects; or needs its activity."""
    if not call.is_layer:
        return False
    layer = call.operation
    collects = layer.trainable and bool(layer.non_trainable_weights) and takes_training(layer)
    return bool(layer.trainable_weights) or collects or layer.activity_regularizer is not None


def _acts(call: Call, weights_before: bool, weights_follow: bool) -> bool:
    if _learns(call):
        return True
    layer = call.operation
    if not call.is_layer or layer.weights or not (takes_training(layer) or draws_random_numbers(layer)):
        return False
    if layer.name.startswith("head"):
        return True
    return layer.trainable and not (weights_before and weights_follow)


NAMING = ("name", "trainable", "seed")


def _fingerprint(part: CallsModel) -> str:
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
