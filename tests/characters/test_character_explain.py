"""Explanations of a recogniser: they point where the evidence is, and add up."""

import keras
import numpy as np
import pytest

from age_keras.characters.config import RecogniserConfig
from age_keras.characters.explain import _places, attention_map, grad_cam, shapley_tiles
from age_keras.characters.model.recogniser import build_recogniser
from age_keras.characters.model.saving import save_recogniser

TINY = {"detail": (), "stem": 4, "stages": ((4,), (6,)), "units": 8, "heads": 2, "normalise": False}


def _image():
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 4:8] = 255
    return image


@pytest.mark.parametrize("sequence", ["columns", "rows"])
def test_attention_is_a_distribution_over_columns_or_rows(sequence):
    keras.utils.set_random_seed(0)
    model = build_recogniser(RecogniserConfig(**TINY, sequence=sequence))
    images = np.stack([_image(), _image().T])
    found = attention_map(model, images)
    assert found.shape == (2, 28, 28)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, atol=1e-5)
    constant = found if sequence == "columns" else found.transpose(0, 2, 1)
    assert np.ptp(constant, axis=1).max() < 1e-9
    assert np.ptp(constant[0, 0]) > 0


@pytest.mark.parametrize("shape", [{}, {"detail": (3, 3, 3), "stages": ((4, 4),)}])
def test_maps_lie_where_the_features_look(shape):
    """A dot of ink moves the features' centre of gravity, and the map's, to where it is."""
    model = build_recogniser(RecogniserConfig(**{**TINY, **shape}))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):  # A blur: features are a coarse copy of the ink.
            layer.kernel.assign(np.ones(layer.kernel.shape))
    features = keras.Model(model.input, model.get_layer("features").output)
    for place in (9, 14, 18):
        image = np.zeros((1, 28, 28, 1), np.float32)
        image[0, 12:17, place - 1 : place + 2] = 255
        found = np.asarray(features(image))[0, :, :, 0].sum(axis=0)
        line = found @ _places(model, 28, len(found))
        assert line @ np.arange(28) / line.sum() == pytest.approx(place, abs=1)


def test_no_attention_no_map():
    model = build_recogniser(RecogniserConfig(**TINY, attention="none"))
    with pytest.raises(ValueError, match="attention"):
        attention_map(model, _image()[None])


def test_grad_cam_is_scaled_and_depends_on_the_class():
    keras.utils.set_random_seed(0)
    model = build_recogniser(RecogniserConfig(**TINY))
    images = np.stack([_image()] * 2)
    found = grad_cam(model, images, np.array([1, 2]))
    assert found.shape == (2, 28, 28)
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.abs(found[0] - found[1]).max() > 0


def test_shapley_values_add_up_and_blank_tiles_are_zero():
    keras.utils.set_random_seed(1)
    model = build_recogniser(RecogniserConfig(**TINY))
    values, empty, whole = shapley_tiles(model, _image(), label=3, permutations=3)
    assert values.sum() == pytest.approx(whole - empty, abs=1e-3)
    assert not values[:, 12:].any()
    assert values[:, 4:8].any()
    nothing, empty, whole = shapley_tiles(model, np.zeros((28, 28), np.uint8))
    assert not nothing.any()
    assert empty == whole


def test_the_command_draws_a_row_per_image(tmp_path, capsys):
    from PIL import Image

    from age_keras import cli

    save_recogniser(tmp_path / "m.keras", build_recogniser(RecogniserConfig(**TINY)), "digits")
    for i in range(2):
        Image.fromarray(255 - _image()).save(tmp_path / f"{i}.png")
    pictures = [str(tmp_path / f"{i}.png") for i in range(2)]
    command = ["digits", "explain", str(tmp_path / "m.keras"), *pictures, "--out"]
    assert cli.main([*command, str(tmp_path / "why.png")]) == 0
    with Image.open(tmp_path / "why.png") as drawn:
        assert drawn.height > 300
    assert cli.main([*command, str(tmp_path / "why.gif")]) == 2
    assert ".png" in capsys.readouterr().err
