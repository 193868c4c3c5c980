"""The age regressor: backbone, pooling, dropout, head; flat, pixels 0-255 in, years out."""

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from age_keras.backbones.build import build_backbone
from age_keras.backbones.registry import BackboneSpec, get_spec
from age_keras.config.model import ModelConfig, Pooling
from age_keras.errors import InputError
from age_keras.models.heads import HEADS, AgeDecoder
from age_keras.run.bundle import load_bundle


@dataclass(frozen=True)
class AgeModel:
    """A regressor in its two forms, which share every layer.

    Attributes:
        trained: pixels to the head's raw output, what the loss reads.
        predictor: pixels to years (N, 1) or (N, 3), what is saved.
        spec: the backbone's facts.
        config: what it was built from.
    """

    trained: keras.Model
    predictor: keras.Model
    spec: BackboneSpec
    config: ModelConfig


def build_age_model(
    backbone: str,
    config: ModelConfig,
    image_size: int,
    channels: int = 1,
    median: float = 0.0,
    deviation: float = 1.0,
    seed: int | None = None,
) -> AgeModel:
    """Builds the regressor.

    Args:
        backbone: a registered name.
        config: what stands in front of it and behind it, and its weights.
        image_size: side of the patches, in pixels.
        channels: of the patches, 1 or 3.
        median: age, in years, that the untrained model answers: the training writers' median.
        deviation: mean absolute deviation of the training writers' ages, in years.
        seed: of the weights that are not loaded, and of dropout; sets Keras' global seed. Defaults to none.

    Raises:
        InputError: see `build_backbone`; a class token that the backbone has not.
    """
    spec = get_spec(backbone)
    if seed is not None:
        keras.utils.set_random_seed(seed)
    options = {"drop_path_rate": config.drop_path_rate} if config.drop_path_rate else {}
    weights = None if config.weights == "none" else config.weights
    body = build_backbone(backbone, image_size, channels, weights, config.preprocessing, **options)
    pooled = _pool(body.output, spec, config.pooling)
    dropped = keras.layers.Dropout(config.dropout, name="head_dropout")(pooled)
    head = HEADS[config.head]
    # The kernel starts at zero, so that the untrained model answers the median for every page.
    dense = keras.layers.Dense(head.units, kernel_initializer="zeros", dtype="float32", name="head_output")
    raw = dense(dropped)
    dense.bias.assign(head.bias(median, deviation))
    years = AgeDecoder(config.head, name="head_years")(raw)
    name = f"age_{backbone}"
    return AgeModel(keras.Model(body.input, raw, name=name), keras.Model(body.input, years, name=name), spec, config)


def load_age_model(path: str | Path) -> tuple[keras.Model, dict[str, Any]]:
    """A saved age model, from pixels to years, and its facts.

    Args:
        path: A `.keras` file from a run's `checkpoints/`.

    Raises:
        InputError: There is no such file, or it does not hold an age model.
    """
    importlib.import_module("age_keras.backbones.layers")  # Registers the layers of all backbones.
    return load_bundle(Path(path), "age")


def _pool(features, spec: BackboneSpec, pooling: Pooling):
    """(N, h, w, C) or (N, T, C) to (N, C), or (N, 2C) for `average_max`."""
    if pooling == "class_token":
        if not spec.class_tokens:
            raise InputError(f"The backbone {spec.name} has no class token: choose another `pooling` than class_token.")
        first = keras.layers.Cropping1D((0, features.shape[1] - 1), name="head_token")(features)
        return keras.layers.Flatten(name="head_pooling")(first)
    if spec.tokens and spec.class_tokens:
        features = keras.layers.Cropping1D((spec.class_tokens, 0), name="head_tokens")(features)
    kind = "1D" if spec.tokens else "2D"
    average = getattr(keras.layers, f"GlobalAveragePooling{kind}")
    maximum = getattr(keras.layers, f"GlobalMaxPooling{kind}")
    if pooling == "average":
        return average(name="head_pooling")(features)
    if pooling == "max":
        return maximum(name="head_pooling")(features)
    both = [average(name="head_average")(features), maximum(name="head_maximum")(features)]
    return keras.layers.Concatenate(name="head_pooling")(both)


def backbone_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The backbone's layers, input first: all but the input, the preprocessing and the head."""
    return [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer)
        and layer.name != "preprocessing"
        and not layer.name.startswith("head_")
    ]


def unfreeze(age_model: AgeModel, ratio: float) -> int:
    """Makes the top fraction of the backbone's layers trainable and freezes the rest; the head always trains.

    The boundary moves to the nearest end of a block, where the frozen prefix can be cut without a residue. BatchNorm
    follows `config.batch_norm`: in inference mode its layers stay frozen wherever they are.

    Args:
        age_model: from `build_age_model`.
        ratio: fraction of the backbone's layers, in [0, 1].

    Returns:
        How many of the backbone's layers are unfrozen.
    """
    if not 0 <= ratio <= 1:
        raise InputError(f"`unfreeze` is a fraction of the layers, in [0, 1]. Received: unfreeze={ratio}.")
    layers = backbone_layers(age_model.trained)
    first = len(layers) - math.ceil(ratio * len(layers))
    ends = [i + 1 for i, layer in enumerate(layers) if layer.name in age_model.spec.cut_points]
    if 0 < ratio < 1 and ends:
        first = min(ends, key=lambda end: abs(end - first))
    still = _keeps_statistics(age_model.config)
    for i, layer in enumerate(layers):
        layer.trainable = i >= first and not (still and isinstance(layer, keras.layers.BatchNormalization))
    return len(layers) - first


def _keeps_statistics(config: ModelConfig) -> bool:
    return config.batch_norm == "inference" or (config.batch_norm == "auto" and config.weights != "none")
