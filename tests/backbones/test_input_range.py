"""What the first convolution of each CNN sees when the model is given pixels from 0 to 255."""

import keras
import numpy as np
import pytest

from age_keras.backbones import build_backbone, get_spec
from age_keras.backbones.layers.preprocessing import PixelNormalization
from age_keras.errors import InputError

CAFFE_WHITE = (255 - 103.939, 255 - 116.779, 255 - 123.68)
IMAGENET = [(m, s) for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
# (black, white) per channel at the first convolution.
SEEN = {
    "resnet50": ([-103.939, -116.779, -123.68], CAFFE_WHITE),
    "inception_v3": ([-1] * 3, [1] * 3),
    "densenet121": ([-m / s for m, s in IMAGENET], [(1 - m) / s for m, s in IMAGENET]),
    "efficientnetv2_m": ([-1] * 3, [255 / 128 - 1] * 3),
    "mobilenetv3_small": ([-1] * 3, [1] * 3),
    "resnet10": ([-m / s for m, s in IMAGENET], [(1 - m) / s for m, s in IMAGENET]),
}


def first_convolution_sees(model, pixels):
    """The input of the first convolution, without the zeros that a padding layer puts around it."""
    convolution = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    seen = keras.Model(model.input, convolution.input)(pixels)
    middle = seen.shape[1] // 2
    return np.asarray(seen)[:, middle, middle]


@pytest.mark.parametrize("name", SEEN)
@pytest.mark.parametrize("channels", [1, 3])
def test_native_preprocessing_gives_the_range_of_the_weights(name, channels):
    if channels == 3 and name in ("efficientnetv2_m", "densenet121"):
        pytest.skip("the big ones are built once")
    size = max(32, get_spec(name).min_image_size)
    model = build_backbone(name, size, channels)
    pixels = np.stack([np.zeros((size, size, channels), np.uint8), np.full((size, size, channels), 255, np.uint8)])
    black, white = SEEN[name]
    assert first_convolution_sees(model, pixels) == pytest.approx(np.array([black, white]), abs=1e-3)


def test_published_preprocessing_divides_by_255_and_so_shows_mobilenet_black():
    model = build_backbone("mobilenetv3_small", 32, 1, preprocessing="published")
    seen = first_convolution_sees(model, np.full((1, 32, 32, 1), 255, np.uint8))
    assert seen == pytest.approx(1 / 127.5 - 1, abs=1e-3)
    model = build_backbone("resnet10", 32, 1, preprocessing="published")
    assert first_convolution_sees(model, np.full((1, 32, 32, 1), 255, np.uint8)) == pytest.approx(1)


def test_colour_reaches_caffe_models_as_bgr():
    layer = PixelNormalization.for_spec(get_spec("resnet50"))
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert np.asarray(layer(red))[0, 0, 0] == pytest.approx([-103.939, -116.779, 255 - 123.68], abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet5O",), "no backbone 'resnet5O': did you mean resnet50"),
        (("inception_v3", 64), "image_size=64 is too small for inception_v3: use at least 75"),
    ],
)
def test_what_cannot_be_built_is_named(arguments, message):
    with pytest.raises(InputError, match=message):
        build_backbone(*arguments)


def test_an_option_that_the_backbone_has_not():
    with pytest.raises(InputError, match="resnet10 has no `drop_path_rate`"):
        build_backbone("resnet10", 32, drop_path_rate=0.1)
