"""The frozen prefix: a model cut in two, so that what never changes is computed once.

    cut = cut_model(model)            # after the `trainable` flags are set; again whenever they change
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

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from age_keras.prefix.fingerprint import fingerprint
from age_keras.prefix.flops import measure
from age_keras.prefix.graph import (
    Call,
    CallsModel,
    Graph,
    Slot,
    draws_random_numbers,
    elements,
    read_graph,
    takes_training,
)
from age_keras.prefix.smallest import boundary_of, smallest_cut


@dataclass(frozen=True)
class Boundary:
    """A tensor that crosses the cut: its shape without the batch, and its dtype."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * itemsize(self.dtype)


@dataclass(frozen=True, eq=False)
class CutModel:
    """A model cut at the boundary between frozen and trainable.

    Attributes:
        model: the model that was cut.
        whole: `model` for plain training: inputs to outputs, the frozen part as in inference.
        prefix: inputs to the list of boundary tensors, always as in inference; None where nothing can be cached.
        suffix: the list of boundary tensors to the model's outputs; None where nothing can be cached.
        boundary: the tensors that cross.
        suffix_fraction: the fraction of the floating-point operations that the suffix does; 1 where there is none.
        flops: floating-point operations of the whole model for one example, forward.
        graph: the whole model as calls.
        slots: of the boundary's tensors in the graph.
    """

    model: keras.Model
    whole: keras.Model
    prefix: keras.Model | None
    suffix: keras.Model | None
    boundary: tuple[Boundary, ...]
    suffix_fraction: float
    flops: float
    graph: Graph
    slots: tuple[Slot, ...]

    @property
    def bytes_per_example(self) -> int:
        """What a cached example takes, in the boundary's own precision."""
        return sum(tensor.bytes for tensor in self.boundary)

    @property
    def limit(self) -> float:
        """How many times faster a training step can get: (1 + 2s) / (3s), a backward pass being two forward ones."""
        return (1 + 2 * self.suffix_fraction) / (3 * self.suffix_fraction)

    def fingerprint(self) -> str:
        """A hash of all that the prefix computes with: its layers, their settings and wiring, and their weights."""
        if self.prefix is None:
            raise ValueError(f"A cut without a prefix has no fingerprint. Received: model={self.model.name}")
        return fingerprint(self.prefix)


def cut_model(model: keras.Model, slack: float = 0.02) -> CutModel:
    """Cuts a model where the frozen part ends.

    Among the cuts that leave at most `slack` more work in the suffix, one with few bytes is taken, mostly the one with
    the fewest (`smallest_cut`). The model may be flat or nested, Sequential, use a layer twice, and have several inputs
    and outputs.

    Args:
        model: a built functional model whose layers carry their `trainable` flags.
        slack: work that may be moved from the prefix to the suffix to save bytes, as a fraction of a training
            step's. Defaults to 0.02. Nothing is cached where the prefix does less than this fraction of the whole.

    Returns:
        The two parts, which share `model`'s layers and variables. Cut again after changing a `trainable` flag.

    Raises:
        ValueError: the model is not functional.
    """
    graph = read_graph(model)
    still = _still_calls(graph)
    flops, by_example = measure(graph)
    total = sum(flops.values())
    cost = {
        slot: elements(spec) * itemsize(spec.dtype) if by_example[slot] else math.inf
        for slot, spec in graph.specs.items()
    }
    prefix = _cheapest(graph, still, flops, cost, slack, total)
    boundary = boundary_of(graph, prefix)
    left = 1 - sum(flops[call] for call in prefix) / total
    whole = CallsModel(graph, graph.calls, still, graph.inputs, graph.outputs, name=f"{model.name}_whole")
    if 1 - left <= slack or any(math.isinf(cost[slot]) for slot in boundary):
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


def itemsize(dtype: str) -> int:
    """Bytes of one element, bfloat16 too."""
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _cheapest(
    graph: Graph,
    still: Sequence[Call],
    flops: Mapping[Call, float],
    cost: Mapping[Slot, float],
    slack: float,
    total: float,
) -> list[Call]:
    """The calls before the cheapest cut; the slack grows only where no cut within it can be cached at all."""
    behind = total - sum(flops[call] for call in still)
    # A training step of the suffix costs three times its forward work; what is moved to it is frozen: forward only.
    for budget in itertools.takewhile(lambda b: b < total, (slack * 3 * behind * 4**n for n in range(16))):
        prefix = smallest_cut(graph, still, flops, cost, budget)
        if not any(math.isinf(cost[slot]) for slot in boundary_of(graph, prefix)):
            return prefix
    return list(still)


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
