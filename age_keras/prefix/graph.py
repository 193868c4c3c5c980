"""The calls that make up a Keras model, in order: the only file of this room that reads Keras' private parts.

A functional model is a graph of operations; nested functional and Sequential models are opened, so that what comes out
is one flat list of calls in the order in which Keras runs them. `CallsModel` runs a part of that list with the very
same layers and variables. Checked against Keras 3.15.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras.src import tree
from keras.src.models.functional import Functional

Slot = int  # a tensor of the graph; nested and shared models would make Keras' own tensors ambiguous.


@dataclass(frozen=True, eq=False)
class Call:
    """One call of one operation.

    Attributes:
        operation: The layer or the Keras operation.
        arguments: Keras' record of the arguments, with KerasTensors as place holders.
        bind: Which slot stands for which place holder, as (id of the KerasTensor, slot).
        outputs: The slots that the call fills.
    """

    operation: Any
    arguments: Any
    bind: tuple[tuple[int, Slot], ...]
    outputs: tuple[Slot, ...]

    @property
    def inputs(self) -> tuple[Slot, ...]:
        """The slots that the call reads, each once."""
        return tuple(dict.fromkeys(slot for _, slot in self.bind))

    @property
    def is_layer(self) -> bool:
        return isinstance(self.operation, keras.layers.Layer)

    def run(self, values: dict[Slot, Any], training: bool | None) -> None:
        """Computes the outputs from the values of the slots, and stores them there."""
        args, kwargs = self.arguments.fill_in({key: values[slot] for key, slot in self.bind})
        if training is not None and self.is_layer:
            kwargs["training"] = training  # Keras drops it where `call` does not take it, and tells the inner layers.
        results = self.operation(*args, **kwargs)
        values.update(zip(self.outputs, tree.flatten(results), strict=True))


@dataclass(frozen=True, eq=False)
class Graph:
    """A whole model as calls.

    Attributes:
        calls: In the order of execution.
        inputs, outputs: The slots of the model's inputs and outputs.
        specs: Shape and dtype of every slot, as KerasTensors.
        layers: The leaf layers in the order in which the model lists its variables.
        output_structure: How the model nests its outputs.
    """

    calls: tuple[Call, ...]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    specs: dict[Slot, keras.KerasTensor]
    layers: tuple[keras.layers.Layer, ...]
    output_structure: Any


def read_graph(model: keras.Model) -> Graph:
    """The calls of a functional (or Sequential) model.

    Raises:
        ValueError: the model is not functional.
    """
    inner = _functional(model)
    if inner is None:
        raise ValueError(f"Only a functional or Sequential model has a graph to read. Received: model={model}")
    specs: dict[Slot, keras.KerasTensor] = {}
    inputs = [_new_slot(specs, x) for x in inner.inputs]
    calls: list[Call] = []
    outputs = _flatten(inner, inputs, specs, calls)
    layers = list(dict.fromkeys(_leaf_layers(model)))
    return Graph(tuple(calls), tuple(inputs), tuple(outputs), specs, tuple(layers), inner._outputs_struct)


def _new_slot(specs: dict[Slot, keras.KerasTensor], spec: keras.KerasTensor) -> Slot:
    specs[len(specs)] = spec
    return len(specs) - 1


def _functional(operation: Any) -> Functional | None:
    """The functional graph behind a model whose `call` does nothing but run that graph."""
    if isinstance(operation, keras.Sequential):
        return operation._functional if type(operation).call is keras.Sequential.call else None
    if isinstance(operation, Functional) and type(operation).call is Functional.call:
        return operation
    return None


def _flatten(model: Functional, inputs: Sequence[Slot], specs: dict, calls: list[Call]) -> list[Slot]:
    slots = {id(x): slot for x, slot in zip(model.inputs, inputs, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.operation or node.is_input:
                continue
            bind = tuple((id(x), slots[id(x)]) for x in node.input_tensors)
            inner = _functional(node.operation)
            if inner is not None and _can_open(inner, node, specs, bind):
                outputs = _flatten(inner, [slot for _, slot in bind], specs, calls)
            else:
                outputs = [_new_slot(specs, x) for x in node.outputs]
                calls.append(Call(node.operation, node.arguments, bind, tuple(outputs)))
            slots.update((id(x), slot) for x, slot in zip(node.outputs, outputs, strict=True))
    return [slots[id(x)] for x in model.outputs]


def _can_open(inner: Functional, node: Any, specs: dict, bind: Sequence) -> bool:
    """Whether the nested call hands its tensors on as they are: same number, order, rank and dtype."""
    args = node.arguments.args
    if len(args) != 1 or isinstance(args[0], dict) or len(bind) != len(inner.inputs):
        return False
    given = [specs[slot] for _, slot in bind]
    return all(
        g.dtype == x.dtype and len(g.shape) == len(x.shape) for g, x in zip(given, inner.inputs, strict=True)
    ) and not any(isinstance(x, keras.KerasTensor) for x in tree.flatten(node.arguments.kwargs))


def _leaf_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        if _functional(layer) is not None:
            yield from _leaf_layers(layer)
        yield layer


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """A layer and every layer inside it."""
    return list(layer._flatten_layers())


def takes_training(operation: Any) -> bool:
    """Whether a layer, or one inside it, behaves differently in training."""
    if not isinstance(operation, keras.layers.Layer):
        return False
    return any("training" in inspect.signature(layer.call).parameters for layer in sublayers(operation))


def draws_random_numbers(operation: Any) -> bool:
    """Whether a layer keeps the state of a random generator."""
    return isinstance(operation, keras.layers.Layer) and len(operation.variables) > len(operation.weights)


def settings(call: Call) -> dict:
    """All that decides what a call computes, but its weights and its inputs."""
    operation = call.operation
    if isinstance(operation, keras.layers.Layer):
        own = operation.get_config()
    else:  # Operations such as Reshape keep their arguments as attributes.
        own = {key: value for key, value in vars(operation).items() if not key.startswith("_")}
    given = [
        "tensor" if isinstance(x, keras.KerasTensor) else x
        for x in tree.flatten((call.arguments.args, call.arguments.kwargs))
    ]
    return {"own": own, "arguments": given}


class CallsModel(keras.Model):
    """A part of a model that runs a list of calls: shares layers and variables, and can be compiled and fitted.

    It is a view: save the model it was taken from.

    Args:
        graph: The whole model.
        calls: The part to run, in order.
        still: The calls that always run as in inference, also in `fit`.
        inputs, outputs: The slots that go in and come out.
        list_outputs: Whether the outputs are a list. Defaults to False: they have the structure of the whole model's.
    """

    def __init__(self, graph, calls, still, inputs, outputs, list_outputs=False, name=None):
        super().__init__(name=name)
        used = {id(call.operation) for call in calls}
        self.parts = [layer for layer in graph.layers if id(layer) in used]
        self._calls = _Untracked(tuple(calls))
        self._still = _Untracked(frozenset(id(call) for call in still))
        self._slots = _Untracked((tuple(inputs), tuple(outputs)))
        self._specs = _Untracked([graph.specs[slot] for slot in inputs])
        self._list = _Untracked((list_outputs, graph.output_structure))
        self.built = True

    @property
    def calls(self) -> tuple[Call, ...]:
        return self._calls.value

    def build(self, input_shape=None):
        self.built = True

    def call(self, inputs, training=None):
        input_slots, output_slots = self._slots.value
        list_outputs, structure = self._list.value
        given = tree.flatten(inputs)
        values = {
            slot: keras.ops.cast(keras.ops.convert_to_tensor(x), spec.dtype)
            for slot, x, spec in zip(input_slots, given, self._specs.value, strict=True)
        }
        still = self._still.value
        for call in self._calls.value:
            call.run(values, False if id(call) in still else training)
        results = [values[slot] for slot in output_slots]
        return results if list_outputs else tree.pack_sequence_as(structure, results)


class _Untracked:
    """Keeps a value out of Keras' tracking, which would copy its tuples and lists and look for layers in it."""

    def __init__(self, value):
        self.value = value
