"""Several looks at one character: the answer is the mean over the image and turned, smaller and larger copies of it."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from age_keras.characters.model.calibrated import CalibratedSoftmax

# Degrees counter-clockwise and zoom of each look. Chosen on the digits of held-out writers: see docs/digits.md.
LOOKS = ((0.0, 1.0), (10.0, 1.0), (-10.0, 1.0), (0.0, 1.12), (0.0, 1 / 1.12))
READER = "reader"


@keras.saving.register_keras_serializable("age_keras")
class Looks(layers.Layer):
    """The images `(N, S, S, C)` turned and zoomed about their centre: `(looks * N, S, S, C)`, look after look.

    Pixels are read bilinearly; what comes from outside is ground (0).

    Args:
        looks: (degrees counter-clockwise, zoom) of each; above 1 enlarges the ink.
    """

    def __init__(self, looks: Sequence[tuple[float, float]], **kwargs):
        super().__init__(**kwargs)
        self.looks = tuple((float(degrees), float(zoom)) for degrees, zoom in looks)

    def build(self, input_shape):
        found = [_bilinear(input_shape[1], *look) for look in self.looks]
        self.places = np.stack([places for places, _ in found])  # (looks, S * S, 4)
        self.weights_of_places = np.stack([weights for _, weights in found])[..., None]

    def call(self, images):
        side, channels = images.shape[1], images.shape[3]
        flat = ops.reshape(images, (-1, side * side, channels))
        copies = []
        for places, weights in zip(self.places, self.weights_of_places, strict=True):
            read = ops.reshape(ops.take(flat, places.ravel(), axis=1), (-1, *places.shape, channels))
            copies.append(ops.sum(read * ops.cast(weights, read.dtype), axis=2))
        return ops.reshape(ops.concatenate(copies, axis=0), (-1, side, side, channels))

    def compute_output_shape(self, input_shape):
        return (None, *input_shape[1:])

    def get_config(self):
        return {**super().get_config(), "looks": self.looks}


@keras.saving.register_keras_serializable("age_keras")
class MeanOfLooks(layers.Layer):
    """The mean of the logits `(looks * N, classes)` over the looks: `(N, classes)`.

    Args:
        looks: how many.
    """

    def __init__(self, looks: int, **kwargs):
        super().__init__(**kwargs)
        self.looks = looks

    def call(self, logits):
        return ops.mean(ops.reshape(logits, (self.looks, -1, logits.shape[-1])), axis=0)

    def compute_output_shape(self, input_shape):
        return (None, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "looks": self.looks}


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
    logits = MeanOfLooks(len(LOOKS), name="logits")(reader(Looks(LOOKS, name="looks")(pixels)))
    together = keras.Model(pixels, CalibratedSoftmax(last.classes, name=last.name)(logits), name=f"{model.name}_looks")
    together.get_layer(last.name).set_weights(last.get_weights())
    return together


def one_look(model: keras.Model) -> keras.Model:
    """What reads one look: the part with `features`, `attention` and `logits`, which explanations are about."""
    inside = {layer.name for layer in model.layers}
    return model.get_layer(READER) if READER in inside else model


def _bilinear(side: int, degrees: float, zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of a copy is read: four pixels `(S * S, 4)` and their weights, 0 for those outside."""
    centre = (side - 1) / 2
    y, x = (place.ravel() - centre for place in np.mgrid[:side, :side].astype(float))
    cos, sin = np.cos(np.radians(degrees)) / zoom, np.sin(np.radians(degrees)) / zoom
    from_x, from_y = cos * x - sin * y + centre, sin * x + cos * y + centre
    left, top = np.floor(from_x).astype(int), np.floor(from_y).astype(int)
    places, weights = [], []
    for down in (0, 1):
        for right in (0, 1):
            column, row = left + right, top + down
            inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
            weight = (1 - np.abs(from_x - column)) * (1 - np.abs(from_y - row))
            places.append(np.where(inside, row * side + column, 0))
            weights.append(np.where(inside, weight, 0.0))
    return np.stack(places, axis=-1).astype(np.int32), np.stack(weights, axis=-1).astype(np.float32)
