"""The recogniser of digits and letters: convolution for what, recurrence for order, attention for where."""

import dataclasses
import numbers
from collections.abc import Sequence
from typing import Literal

import keras
from keras import layers

from age_keras.characters.model.attention import DotProductAttention, PositionEmbedding
from age_keras.characters.model.calibrated import CalibratedSoftmax
from age_keras.config.choices import refuse_unknown_names
from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class RecogniserConfig:
    """The shape of a recogniser. The defaults have about 265,000 parameters for ten classes.

    Args:
        detail: filters of the 3x3 convolutions at full resolution before the stem, without padding: what each drops,
            a pixel at every side, is the margin.
        stem: filters of the convolution that halves the image: it sees 5x5 pixels, alone or through `detail` (then it
            is 3x3), has stride 2 and no padding; 0 leaves it out.
        stages: filters of the 3x3 convolutions: one tuple per resolution, each after the first opens with stride 2;
            an empty one leaves its resolution out.
        sequence: how the map of features becomes a sequence: its columns, left to right, or its rows, top to bottom.
        encoder: what reads the sequence: a recurrent layer or transformer blocks.
        recurrence: the recurrent cell; "none" leaves the sequence as it is.
        bidirectional: also read the sequence backwards.
        units: width of the recurrent state (each way), of the transformer and of the sequence before it.
        blocks: transformer blocks.
        attention: how the sequence becomes one vector: "none" takes its mean, "dot" one head of scaled dot-product
            attention, "multihead" `heads` of them.
        heads: heads of "multihead" and of the transformer blocks.
        dropout: before the last layer.
        normalise: batch normalisation after each convolution.
        unroll: write the recurrence out step by step: a few steps only, and it makes the file exportable to LiteRT.

    Raises:
        InputError: a name is unknown, a size is not positive, or there is no convolution.
    """

    detail: tuple[int, ...] = (16,)
    stem: int = 32
    stages: tuple[tuple[int, ...], ...] = ((32,), (64, 64, 96))
    sequence: Literal["columns", "rows"] = "columns"
    encoder: Literal["rnn", "transformer"] = "rnn"
    recurrence: Literal["lstm", "gru", "none"] = "gru"
    bidirectional: bool = True
    units: int = 64
    blocks: int = 2
    attention: Literal["none", "dot", "multihead"] = "multihead"
    heads: int = 4
    dropout: float = 0.2
    normalise: bool = True
    unroll: bool = True

    def __post_init__(self):
        refuse_unknown_names(self)
        if not _are_filters(self.detail):
            raise InputError(
                f"`detail` is a tuple of positive numbers of filters, such as (16,). Received: detail={self.detail!r}."
            )
        if not isinstance(self.stages, tuple | list) or not all(map(_are_filters, self.stages)):
            raise InputError(
                "`stages` is a tuple of tuples of positive numbers of filters, such as ((32,), (64, 96)). "
                f"Received: stages={self.stages!r}."
            )
        for name, least in (("stem", 0), ("units", 1), ("blocks", 1), ("heads", 1)):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < least:
                raise InputError(f"`{name}` must be a number of at least {least}. Received: {name}={value!r}.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"`dropout` must lie in [0, 1). Received: dropout={self.dropout}.")
        if not (self.detail or self.stem or any(self.stages)):
            raise InputError("a recogniser needs a convolution: give `detail`, `stem` or `stages`.")


def _are_filters(value) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(n, numbers.Integral) and n > 0 for n in value)


def small_config() -> RecogniserConfig:
    """A recogniser of fewer than 25,000 parameters."""
    return RecogniserConfig(
        detail=(), stem=12, stages=((16, 16), (24, 24)), units=24, heads=2, bidirectional=False, dropout=0.0
    )


def build_recogniser(
    config: RecogniserConfig | None = None,
    *,
    classes: int | Sequence[str] = 10,
    image_size: int = 28,
    channels: int = 1,
) -> keras.Model:
    """Builds a recogniser with fresh weights.

    Args:
        config: its shape. Defaults to `RecogniserConfig()`.
        classes: the number of classes, or their names.
        image_size: side of the images in pixels, at least 12.
        channels: 1 or 3.

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
    width = config.units
    heads = max(h for h in range(1, config.heads + 1) if width % h == 0)
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
