"""A backbone, built by its registered name, with its preprocessing in front and its weights loaded."""

from pathlib import Path

import keras

from age_keras.backbones.checkpoints.weights import load_weights
from age_keras.backbones.layers.preprocessing import PixelNormalization
from age_keras.backbones.registry import get_spec
from age_keras.config.model import Preprocessing


def build_backbone(
    name: str,
    image_size: int | None = None,
    channels: int = 3,
    weights: str | Path | None = None,
    preprocessing: Preprocessing = "native",
    **architecture,
) -> keras.Model:
    """Builds a flat functional feature extractor.

    Args:
        name: A registered name.
        image_size: The side of the square input, in pixels. Defaults to the published one.
        channels: 1 (grey, repeated inside the model) or 3 (RGB).
        weights: None (random), `imagenet` or another name of `spec.weights` (downloaded), or a file: Keras weights or
            model, or a published PyTorch checkpoint of the family.
        preprocessing: `native` takes pixels 0-255 and does the family's own preprocessing; `published` divides by 255
            and does nothing else, as the published study did; `none` takes what the first convolution should see, but
            pixels 0-255 for `efficientnetv2_m` and `mobilenetv3_small`, which rescale inside.
        **architecture: Given to the build function, e.g. `drop_path_rate`.

    Returns:
        A model from (N, image_size, image_size, channels) to (N, h, w, C), or tokens (N, T, C).

    Raises:
        InputError: Unknown name, size that does not fit, weights that do not exist or do not fit.
    """
    spec = get_spec(name)
    image_size = spec.image_size if image_size is None else image_size
    spec.check_image_size(image_size)
    spec.check_options(architecture)
    inputs = keras.Input((image_size, image_size, channels), name="pixels")
    x = PixelNormalization.for_spec(spec, preprocessing)(inputs)
    model = keras.Model(inputs, spec.build(x, image_size, **architecture), name=name)
    if weights is not None:
        load_weights(model, spec, weights)
    return model
