"""A frozen prefix computed in bfloat16 or float16: about twice as fast where the machine has instructions for it.

The prefix is traced and its variables become constants; then TensorFlow's own optimizer of graphs (Grappler) fuses
convolutions with the normalisation and activation behind them, and computes them and the matrix products in the lower
precision, while sums, means and softmax stay in float32. The graph runs in a session of its own, so that nothing else
in the process is rewritten.

    bfloat16    processors with AVX512-BF16 or AMX, by oneDNN
    float16     GPUs with tensor cores, by TensorFlow's automatic mixed precision

What comes out is another rounding of the same features. It is for the caller to measure how far off, `relative_error`,
and to do without where that is too much.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

PASSES = {"bfloat16": "auto_mixed_precision_onednn_bfloat16", "float16": "auto_mixed_precision"}
MOST_BYTES = 2**31 - 2**24
"""A graph with its constants is one message of Protocol Buffers, which cannot be larger than 2 GB."""


class LowPrecisionError(Exception):
    """This model or this machine cannot be computed in the lower precision; the message says why."""


def in_low_precision(
    model: keras.Model, signature: Sequence[tf.TensorSpec], dtype: str
) -> Callable[..., list[np.ndarray]]:
    """A model in inference, with its weights as they are now, computed in a lower precision.

    Args:
        model: Returns a list of tensors.
        signature: Type and shape of each input, the batch given.
        dtype: `bfloat16` or `float16`; with `float32` layers are fused alone.

    Returns:
        A function of arrays, which returns the outputs in the model's own dtypes.

    Raises:
        LowPrecisionError: the weights are too large.
    """
    if sum(int(np.prod(weight.shape)) * 4 for weight in model.weights) > MOST_BYTES:
        raise LowPrecisionError("its weights take more than 2 GB")
    function = tf.function(lambda *tensors: model(_single(tensors), training=False), autograph=False)
    frozen = convert_variables_to_constants_v2(function.get_concrete_function(*signature)).graph
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(frozen.as_graph_def(), name="")
    config = tf.compat.v1.ConfigProto()
    config.gpu_options.allow_growth = True  # The process holds its own share of the GPU already.
    config.intra_op_parallelism_threads = tf.config.threading.get_intra_op_parallelism_threads()
    config.inter_op_parallelism_threads = tf.config.threading.get_inter_op_parallelism_threads()
    if dtype != "float32":
        setattr(config.graph_options.rewrite_options, PASSES[dtype], config.graph_options.rewrite_options.ON)
    session = tf.compat.v1.Session(graph=graph, config=config)
    return session.make_callable([x.name for x in frozen.outputs], feed_list=[x.name for x in frozen.inputs])


def relative_error(exact: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """The root mean square of the difference over that of the exact values, of the tensor where it is largest."""
    return max(_error(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(exact, other, strict=True))


def _error(exact: np.ndarray, other: np.ndarray) -> float:
    error = np.sqrt(np.mean(np.square(other - exact)))
    scale = np.sqrt(np.mean(np.square(exact)))
    return float(error / max(scale, np.finfo(np.float32).tiny)) if np.isfinite(error) else float("inf")


def _single(tensors: tuple):
    return tensors[0] if len(tensors) == 1 else tensors
