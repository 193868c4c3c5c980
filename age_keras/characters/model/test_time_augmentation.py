"""Test-time augmentation: the answer is the mean over the image and rotated, smaller and larger views of it."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from age_keras.characters.model.calibrated_softmax import CalibratedSoftmax

# Degrees counter-clockwise and zoom of each view. Chosen on the digits of held-out writers: see docs/digits.md.
VIEWS = ((0.0, 1.0), (10.0, 1.0), (-10.0, 1.0), (0.0, 1.12), (0.0, 1 / 1.12))
READER = "reader"


@keras.saving.register_keras_serializable("age_keras", name="Looks")
class AugmentedViews(layers.Layer):
    """The images `(N, S, S, C)` rotated and zoomed about their centre: `(views * N, S, S, C)`, view after view.

    Pixels are interpolated bilinearly; what comes from outside is background (0).

    Args:
        views: (degrees counter-clockwise, zoom) of each view; a zoom above 1 enlarges the ink.
    """

    def __init__(self, views: Sequence[tuple[float, float]], **kwargs):
        super().__init__(**kwargs)
        self.views = tuple((float(degrees), float(zoom)) for degrees, zoom in views)

    def build(self, input_shape):
        found = [_bilinear(input_shape[1], *view) for view in self.views]
        self.places = np.stack([places for places, _ in found])  # (views, S * S, 4)
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
        return {**super().get_config(), "looks": self.views}  # The key that saved recognisers have.

    @classmethod
    def from_config(cls, config):
        return cls(config.pop("looks"), **config)


@keras.saving.register_keras_serializable("age_keras", name="MeanOfLooks")
class MeanOverViews(layers.Layer):
    """The mean of the logits `(views * N, classes)` over the views: `(N, classes)`.

    Args:
        views: Number of views.
    """

    def __init__(self, views: int, **kwargs):
        super().__init__(**kwargs)
        self.views = views

    def call(self, logits):
        return ops.mean(ops.reshape(logits, (self.views, -1, logits.shape[-1])), axis=0)

    def compute_output_shape(self, input_shape):
        return (None, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "looks": self.views}  # The key that saved recognisers have.

    @classmethod
    def from_config(cls, config):
        return cls(config.pop("looks"), **config)


def with_test_time_augmentation(model: keras.Model) -> keras.Model:
    """A recogniser that answers by five views of each image: the same weights, five times the work of a prediction.

    Args:
        model: From `build_recogniser`, trained.

    Returns:
        A model with the same input, outputs and calibration as `model`. Its layer `reader` reads one view, from pixels
        to logits; `logits` gives the mean.
    """
    last = model.get_layer("probabilities")
    pixels = layers.Input(model.input_shape[1:], name="pixels")
    reader = keras.Model(model.input, model.get_layer("logits").output, name=READER)
    logits = MeanOverViews(len(VIEWS), name="logits")(reader(AugmentedViews(VIEWS, name="views")(pixels)))
    together = keras.Model(
        pixels, CalibratedSoftmax(last.classes, name=last.name)(logits), name=f"{model.name}_of_views"
    )
    together.get_layer(last.name).set_weights(last.get_weights())
    return together


def single_view(model: keras.Model) -> keras.Model:
    """The part that reads one view, with `features`, `attention` and `logits`, which explanations are about."""
    inside = {layer.name for layer in model.layers}
    return model.get_layer(READER) if READER in inside else model


def _bilinear(side: int, degrees: float, zoom: float) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of a view is read: four pixels `(S * S, 4)` and their weights, 0 for those outside."""
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
