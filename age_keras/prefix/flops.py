"""Multiply-adds: how much work each call of a model is. The papers count a network's "FLOPs" so."""

import math

import tensorflow as tf

from age_keras.prefix.graph import Call, Graph, Slot

ROWS = 3  # Examples in the traced batch: a tensor with another number of rows folds windows or heads into its rows.


def count_multiply_adds(graph: Graph) -> tuple[dict[Call, float], set[Slot]]:
    """Traces a model once in inference and counts what each call does.

    Args:
        graph: The whole model, see `read_graph`.

    Returns:
        The multiply-adds of each call for one example: those of convolutions and matrix products; what is element-wise
        counts nothing. And the tensors that have one row for each example.
    """
    work: dict[Call, float] = {}
    by_example: set[Slot] = set(graph.inputs)

    @tf.function(
        input_signature=[tf.TensorSpec((ROWS, *graph.specs[i].shape[1:]), graph.specs[i].dtype) for i in graph.inputs],
        autograph=False,
    )
    def trace(*tensors):
        values = dict(zip(graph.inputs, tensors, strict=True))
        of_examples = {tensor.op for tensor in tensors}
        for call in graph.calls:
            before = len(tensors[0].graph.get_operations())
            call.run(values, training=False)
            work[call] = 0.0
            for operation in tensors[0].graph.get_operations()[before:]:
                # What is made of weights alone, such as a bias by relative position, is made once for all examples.
                depends = not of_examples.isdisjoint(tensor.op for tensor in operation.inputs)
                of_examples.update([operation] if depends else [])
                work[call] += _multiply_adds(operation) / (ROWS if depends else 1)
            by_example.update(slot for slot in call.outputs if values[slot].shape[:1] == [ROWS])

    trace.get_concrete_function()
    return work, by_example


def _multiply_adds(operation: tf.Operation) -> int:
    kind = operation.type
    if kind in _TRANSPOSED:
        inner = operation.inputs[0].shape[-2 if operation.get_attr(_TRANSPOSED[kind]) else -1]
        return math.prod(operation.outputs[0].shape) * inner
    if kind in ("Conv2D", "DepthwiseConv2dNative"):
        # A depthwise kernel has as many outputs for each channel as its last side says.
        sides = operation.inputs[1].shape[: 3 if kind == "Conv2D" else 2]
        return math.prod(operation.outputs[0].shape) * math.prod(sides)
    if kind == "Einsum":
        terms = operation.get_attr("equation").decode().split("->")[0].split(",")
        sizes = {}
        for term, tensor in zip(terms, operation.inputs, strict=True):
            sizes.update(zip(term, tensor.shape, strict=True))
        return math.prod(sizes.values())
    return 0


_TRANSPOSED = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x", "BatchMatMulV3": "adj_x"}
