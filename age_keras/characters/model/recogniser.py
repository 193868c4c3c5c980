"""The recogniser of digits and letters: convolution for what, recurrence for order, attention for where."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from age_keras.characters.config import RecogniserConfig
from age_keras.characters.model.attention import DotProductAttention, PositionEmbedding
from age_keras.characters.model.calibrated_softmax import CalibratedSoftmax
from age_keras.errors import InputError


def build_recogniser(
    config: RecogniserConfig | None = None,
    *,
    classes: int | Sequence[str] = 10,
    image_size: int = 28,
    channels: int = 1,
) -> keras.Model:
    """Builds a recogniser with fresh weights.

    Args:
        config: Its shape. Defaults to `RecogniserConfig()`.
        classes: Number of classes, or their names. Defaults to 10.
        image_size: Side of the images in pixels, at least 12. Defaults to 28.
        channels: 1 or 3. Defaults to 1.

    Returns:
        A flat functional model: `pixels` (N, S, S, channels), 0-255, bright ink on a dark ground, to `probabilities`
        (N, classes). Its layer `features` gives the last map of the convolutions, `attention` the attention,
        `logits` what stands before the softmax.
    """
    config = config or RecogniserConfig()
    names = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
    if len(names) < 2:
        raise ValueError(f"a recogniser needs at least two classes. Received: classes={classes!r}")
    if image_size < 12:
        raise ValueError(f"image_size must be at least 12. Received: image_size={image_size}")
    if _margin(config) >= image_size:
        raise InputError(
            f"`detail` and `stem` leave nothing of {image_size} pixels; give fewer convolutions. "
            f"Received: detail={config.detail}, stem={config.stem}."
        )
    pixels = layers.Input((image_size, image_size, channels), name="pixels")
    x = layers.Rescaling(1 / 255, name="scale")(pixels)
    for name, filters, kernel, stride, padding in _convolutions(config):
        x = _convolution(x, filters, kernel, stride, padding, config.normalise, name)
    x = _sequence(x, config)
    x = _transformer(x, config) if config.encoder == "transformer" else _recurrence(x, config)
    x = _attend(x, config)
    x = layers.Dropout(config.dropout, name="dropout")(x)
    logits = layers.Dense(len(names), name="logits")(x)
    probabilities = CalibratedSoftmax(names, name="probabilities")(logits)
    return keras.Model(pixels, probabilities, name="recogniser")


def logits_model(model: keras.Model) -> keras.Model:
    """The same network up to its logits: what temperature scaling and attacks work on."""
    return keras.Model(model.input, model.get_layer("logits").output, name="logits")


def predict_probabilities(model: keras.Model, images: np.ndarray, batch_size: int = 500) -> np.ndarray:
    """`(N, classes)` float32 of images `uint8 (N, S, S)`."""
    if not len(images):
        return np.zeros((0, model.output_shape[-1]), np.float32)
    return model.predict(images[..., None], batch_size=batch_size, verbose=0)


def _convolutions(config):
    """(name, filters, kernel, stride, padding) of each convolution, in order; the last is `features`."""
    found = [(f"detail{i + 1}", filters, 3, 1, "valid") for i, filters in enumerate(config.detail)]
    if config.stem:
        found.append(("stem", config.stem, 3 if config.detail else 5, 2, "valid"))
    for i, stage in enumerate(config.stages):
        for j, filters in enumerate(stage):
            found.append((f"stage{i + 1}_{j + 1}", filters, 3, 2 if i and j == 0 else 1, "same"))
    return [*found[:-1], ("features", *found[-1][1:])]


def _margin(config) -> int:
    """Pixels of a side that the convolutions without padding need beyond those that they leave."""
    return sum(kernel - 1 for _, _, kernel, _, padding in _convolutions(config) if padding == "valid")


def _convolution(x, filters, kernel, stride, padding, normalise, name):
    bias = not normalise
    x = layers.Conv2D(filters, kernel, strides=stride, padding=padding, use_bias=bias, name=f"{name}_conv")(x)
    if normalise:
        x = layers.BatchNormalization(momentum=0.95, name=f"{name}_norm")(x)
    return layers.Activation("relu", name=name)(x)


def _sequence(x, config):
    """(N, rows, columns, C) to (N, steps, units): a step is one column, or one row, of the features."""
    if config.sequence == "columns":
        x = layers.Permute((2, 1, 3), name="columns")(x)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name="steps")(x)
    return layers.Dense(config.units, name="step")(x)


def _recurrence(x, config):
    if config.recurrence == "none":
        return layers.Activation("relu", name="states")(x)
    cell = {"gru": layers.GRU, "lstm": layers.LSTM}[config.recurrence]
    reader = cell(config.units, return_sequences=True, unroll=config.unroll, name="recurrence")
    return layers.Bidirectional(reader, name="recurrence_two_way")(x) if config.bidirectional else reader(x)


def _transformer(x, config):
    width, heads = config.units, config.heads
    x = PositionEmbedding(name="position")(x)
    for i in range(config.blocks):
        name = f"block{i + 1}"
        y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(x)
        y = DotProductAttention(heads, width // heads, output_dim=width, name=f"{name}_attention")(y)
        x = layers.Add(name=f"{name}_add1")([x, y])
        y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(x)
        y = layers.Dense(4 * width, activation="gelu", name=f"{name}_mlp1")(y)
        y = layers.Dense(width, name=f"{name}_mlp2")(y)
        x = layers.Add(name=f"{name}_add2")([x, y])
    return layers.LayerNormalization(epsilon=1e-5, name="states")(x)


def _attend(x, config):
    mean = layers.GlobalAveragePooling1D(name="mean")(x)
    if config.attention == "none":
        return mean
    heads = config.heads if config.attention == "multihead" else 1
    query = layers.Reshape((1, mean.shape[-1]), name="query")(mean)
    attend = DotProductAttention(heads, max(1, 128 // heads) if config.units >= 64 else config.units, name="attention")
    context = layers.Flatten(name="context")(attend(query, x))
    return layers.Concatenate(name="summary")([context, mean])
