"""A frozen prefix in bfloat16: near its features in float32, with the weights that it had, and nothing else changed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from age_keras.config.model import ModelConfig
from age_keras.models.age import build_age_model, unfreeze
from age_keras.prefix import cut_model, low_precision
from age_keras.prefix.low_precision import LowPrecisionError, in_low_precision, relative_error


@pytest.fixture(scope="module")
def prefix():
    age = build_age_model("resnet10", ModelConfig(weights="none", batch_norm="inference"), 64, seed=0)
    unfreeze(age, 0.3)
    return cut_model(age.trained).prefix


def signature(prefix):
    return [tf.TensorSpec((8, 64, 64, 1), tf.uint8)]


PIXELS = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 1), dtype=np.uint8)


def test_features_are_near_those_in_float32_and_in_its_dtype(prefix):
    exact, other = [x.numpy() for x in prefix(PIXELS)], in_low_precision(prefix, signature(prefix), "bfloat16")(PIXELS)
    assert [x.dtype for x in other] == [x.dtype for x in exact]
    # Where the processor has no instructions for bfloat16, float32 is what comes out.
    assert relative_error(exact, other) < 2**-6


def test_the_process_computes_as_before(prefix):
    before = [x.numpy() for x in prefix(PIXELS)]
    options = tf.config.optimizer.get_experimental_options()
    in_low_precision(prefix, signature(prefix), "bfloat16")(PIXELS)
    assert tf.config.optimizer.get_experimental_options() == options
    for a, b in zip(before, prefix(PIXELS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_graph_too_large_for_one_message_is_refused(prefix, monkeypatch):
    monkeypatch.setattr(low_precision, "MOST_BYTES", 1000)
    with pytest.raises(LowPrecisionError, match="2 GB"):
        in_low_precision(prefix, signature(prefix), "bfloat16")


def test_the_error_is_of_the_worst_tensor_and_of_its_own_size():
    small, large = np.full((4, 3), 1e-3, np.float32), np.full((4, 2), 1e3, np.float32)
    assert relative_error([small, large], [small * 1.5, large]) == pytest.approx(0.5)
    assert relative_error([small, large], [small, large * np.nan]) == float("inf")
    assert relative_error([small * 0], [small * 0]) == 0


def test_several_tensors_come_in_and_go_out():
    inputs = [keras.Input((4,)), keras.Input((5,))]
    model = keras.Model(inputs, [keras.layers.Dense(3)(inputs[0]), keras.layers.Dense(2)(inputs[1])])
    shapes = [tf.TensorSpec((6, 4), tf.float32), tf.TensorSpec((6, 5), tf.float32)]
    arrays = [np.ones((6, 4), np.float32), np.ones((6, 5), np.float32)]
    outputs = in_low_precision(model, shapes, "bfloat16")(*arrays)
    assert [x.shape for x in outputs] == [(6, 3), (6, 2)]
    assert relative_error([x.numpy() for x in model(arrays)], outputs) < 2**-6
