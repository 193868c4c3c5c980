"""How much work each call of a model is, and which tensors have one row for each example."""

import math
from collections.abc import Mapping

import keras
import tensorflow as tf

from age_keras.prefix.graph import Call, Graph, Slot

ROWS = 3  # Examples in the traced batch: a tensor with another number of rows folds windows or heads into its rows.
FREE = {"Const", "Identity", "NoOp", "Placeholder", "ReadVariableOp", "Reshape", "Shape", "StridedSlice", "Pack"}


def measure(graph: Graph) -> tuple[dict[Call, float], dict[Slot, bool]]:
    """Counts the floating-point operations of every call of a graph, for one example, in inference.

    A multiply-add counts two, an element of anything else one. Convolutions, dense and pointwise layers of Keras are
    counted from their shapes; everything else (attention, custom layers, matrix products) is traced by TensorFlow.

    Returns:
        The operations of each call, and for each tensor whether its rows are the examples.
    """
    flops: dict[Call, float] = {}
    rows: dict[Slot, int | None] = dict.fromkeys(graph.inputs, ROWS)
    for call in graph.calls:
        if _is_plain_layer(call):
            flops[call] = _layer_flops(call, graph)
            rows.update(dict.fromkeys(call.outputs, rows[call.inputs[0]]))
        else:
            flops[call], leading = _traced(call, graph, rows)
            rows.update(zip(call.outputs, leading, strict=True))
    return flops, {slot: n == ROWS for slot, n in rows.items()}


def _is_plain_layer(call: Call) -> bool:
    """A layer of Keras itself, without layers inside, that keeps the rows."""
    layer = call.operation
    known = call.is_layer and getattr(keras.layers, type(layer).__name__, None) is type(layer)
    return known and (not layer.weights or _kernels(layer) or _is_normalization(layer)) and not _is_lambda(layer)


def _is_lambda(layer) -> bool:
    return isinstance(layer, keras.layers.Lambda | keras.layers.Wrapper)


def _is_normalization(layer) -> bool:
    kinds = keras.layers
    return isinstance(
        layer, kinds.BatchNormalization | kinds.LayerNormalization | kinds.GroupNormalization | kinds.Normalization
    )


def _kernels(layer) -> list:
    if not isinstance(layer, keras.layers.Dense | _CONVOLUTIONS):
        return []
    named = (getattr(layer, name, None) for name in ("kernel", "depthwise_kernel", "pointwise_kernel"))
    return [kernel for kernel in named if kernel is not None]


_CONVOLUTIONS = (
    keras.layers.Conv1D
    | keras.layers.Conv2D
    | keras.layers.DepthwiseConv2D
    | keras.layers.SeparableConv2D
    | keras.layers.DepthwiseConv1D
)


def _size(shape) -> float:
    return math.prod(side or 1 for side in shape)


def _layer_flops(call: Call, graph: Graph) -> float:
    layer, out = call.operation, sum(_size(graph.specs[slot].shape[1:]) for slot in call.outputs)
    kernels = _kernels(layer)
    if kernels:
        shape = graph.specs[call.outputs[0]].shape
        channels_first = getattr(layer, "data_format", "channels_last") == "channels_first"
        positions = _size(shape[2:] if channels_first else shape[1:-1])
        return 2 * positions * sum(math.prod(kernel.shape) for kernel in kernels) + out
    if _is_normalization(layer):
        return 2 * out
    into = sum(_size(graph.specs[slot].shape[1:]) for slot in call.inputs)
    return max(out, into)


def _traced(call: Call, graph: Graph, rows: Mapping[Slot, int | None]) -> tuple[float, list[int | None]]:
    specs = [graph.specs[slot] for slot in call.inputs]
    shapes = [(rows[slot], *spec.shape[1:]) for slot, spec in zip(call.inputs, specs, strict=True)]

    @tf.function(
        input_signature=[tf.TensorSpec(shape, spec.dtype) for shape, spec in zip(shapes, specs, strict=True)],
        autograph=False,
    )
    def run(*tensors):
        values = dict(zip(call.inputs, tensors, strict=True))
        call.run(values, training=False)
        return [values[slot] for slot in call.outputs]

    function = run.get_concrete_function()
    total = sum(_operation_flops(operation) for operation in function.graph.get_operations())
    return total / ROWS, [x.shape[0] if x.shape.rank else None for x in function.outputs]


def _operation_flops(operation: tf.Operation) -> float:
    if operation.type in FREE or not operation.outputs or operation.outputs[0].shape.rank is None:
        return 0.0
    out = _size(operation.outputs[0].shape)
    if operation.type == "Conv2D":
        return 2 * out * _size(operation.inputs[1].shape[:3])
    if operation.type == "DepthwiseConv2dNative":
        return 2 * out * _size(operation.inputs[1].shape[:2])
    if operation.type in ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"):
        flag = operation.get_attr("transpose_a" if operation.type == "MatMul" else "adj_x")
        return 2 * out * (operation.inputs[0].shape[-2 if flag else -1] or 1)
    if operation.type == "Einsum":
        labels = operation.get_attr("equation").decode().split("->")[0].split(",")
        sides = {
            label: side or 1
            for term, tensor in zip(labels, operation.inputs, strict=True)
            if "." not in term
            for label, side in zip(term, tensor.shape, strict=True)
        }
        return 2 * _size(sides.values())
    return out
