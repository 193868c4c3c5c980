"""How much a model computes: multiply-adds of one image, as the papers count them."""

import math

import keras
import tensorflow as tf


def count_multiply_adds(model: keras.Model) -> int:
    """Multiply-adds of convolutions and matrix products for one image; what is element-wise is not counted.

    Args:
        model: one input of a fixed size.

    Returns:
        The count; the papers' "FLOPs" of vision networks are these.
    """
    shape = (1, *model.inputs[0].shape[1:])
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(tf.TensorSpec(shape, tf.float32))
    graphs = [function.graph, *(f.graph for f in function.graph._functions.values() if hasattr(f, "graph"))]
    return sum(_of(operation) for graph in graphs for operation in graph.get_operations())


def _of(operation: tf.Operation) -> int:
    kind = operation.type
    if kind in ("MatMul", "BatchMatMulV2"):
        inner = operation.inputs[0].shape[-2 if operation.get_attr(_TRANSPOSED[kind]) else -1]
        return math.prod(operation.outputs[0].shape) * inner
    if kind == "Conv2D":
        return math.prod(operation.outputs[0].shape) * math.prod(operation.inputs[1].shape[:3])
    if kind == "DepthwiseConv2dNative":
        return math.prod(operation.outputs[0].shape) * math.prod(operation.inputs[1].shape[:2])
    if kind == "Einsum":
        terms = operation.get_attr("equation").decode().split("->")[0].split(",")
        sizes = {}
        for term, tensor in zip(terms, operation.inputs, strict=True):
            sizes.update(zip(term, tensor.shape, strict=True))
        return math.prod(sizes.values())
    return 0


_TRANSPOSED = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}
