"""Several looks at one character: the answer is the mean over the image and copies of it moved by a pixel."""

import keras
from keras import layers, ops

from age_keras.models.calibrated import CalibratedSoftmax

SHIFTS = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
READER = "reader"


@keras.saving.register_keras_serializable("age_keras")
class Looks(layers.Layer):
    """The images `(N, S, S, C)` as they are, and moved by one pixel each way: `(5 N, S, S, C)`, look after look.

    What comes in at a side is ground (0).
    """

    def call(self, images):
        side = images.shape[1]
        framed = ops.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        moved = [framed[:, 1 + down : 1 + down + side, 1 + right : 1 + right + side] for down, right in SHIFTS]
        return ops.concatenate(moved, axis=0)

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[1:])


@keras.saving.register_keras_serializable("age_keras")
class MeanOfLooks(layers.Layer):
    """The mean of the logits `(5 N, classes)` over the looks: `(N, classes)`."""

    def call(self, logits):
        return ops.mean(ops.reshape(logits, (len(SHIFTS), -1, logits.shape[-1])), axis=0)

    def compute_output_shape(self, input_shape):
        return (None, input_shape[-1])


def with_looks(model: keras.Model) -> keras.Model:
    """A recogniser that looks five times: the same weights, five times the work of a prediction.

    Args:
        model: from `build_recogniser`, trained.

    Returns:
        A model with the same input, outputs and calibration as `model`. Its layer `reader` is what reads one look, from
        pixels to logits; `logits` gives their mean.
    """
    last = model.get_layer("probabilities")
    pixels = layers.Input(model.input_shape[1:], name="pixels")
    reader = keras.Model(model.input, model.get_layer("logits").output, name=READER)
    logits = MeanOfLooks(name="logits")(reader(Looks(name="looks")(pixels)))
    together = keras.Model(pixels, CalibratedSoftmax(last.classes, name=last.name)(logits), name=f"{model.name}_looks")
    together.get_layer(last.name).set_weights(last.get_weights())
    return together


def one_look(model: keras.Model) -> keras.Model:
    """What reads one look: the part with `features`, `attention` and `logits`, which explanations are about."""
    inside = {layer.name for layer in model.layers}
    return model.get_layer(READER) if READER in inside else model
