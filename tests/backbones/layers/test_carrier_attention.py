"""Carrier tokens: where they are, whom they speak for, and how they reach the cells."""

import keras
import numpy as np
import pytest
from published import pixels

from age_keras.backbones import build_backbone
from age_keras.backbones.layers.carrier_attention import CarrierAttention, CarrierSpread, CellPositionEmbedding


def small(image_size=128, window_size=(7, 7, 4, 4), **architecture):
    numbers = {"depths": (1, 1, 2, 1), "num_heads": (1, 1, 2, 2), "dim": 4, "in_dim": 4}
    return build_backbone("fastervit_0", image_size, window_size=window_size, **numbers, **architecture)


def test_carrier_tokens_have_no_place_in_the_window():
    attention = CarrierAttention(num_heads=2, carriers=4)
    attention.build((None, 4, 4 + 9, 24))
    bias = np.asarray(attention.position_bias())
    assert bias.shape == (2, 13, 13)
    assert not bias[:, :4].any()
    assert not bias[:, :, :4].any()
    assert (bias[:, 4:, 4:] > 0).all()
    np.testing.assert_allclose(bias[:, 4, 5], bias[:, 11, 12], rtol=1e-6)  # the same step, elsewhere


@pytest.mark.parametrize("side", [2, 3, 4])
def test_positions_fit_windows_of_any_side(side):
    tokens = np.zeros((1, 2, side * side, 8), "float32")
    embedded = np.asarray(CellPositionEmbedding()(tokens))
    np.testing.assert_array_equal(embedded[0, 0], embedded[0, 1])
    assert len(np.unique(embedded[0, 0].round(6), axis=0)) == side * side


def test_windows_see_each_other_through_their_carriers():
    """A change in one corner of the map reaches the third level's opposite corner, beyond any convolution's reach."""
    model = small(224, window_size=(7, 7, 7, 7))
    for layer in model.layers:  # The published start is too near zero for a change to show in float32.
        if isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(25 * layer.kernel)
    level = keras.Model(model.input, model.get_layer("levels.2.map").output)
    x = pixels(1, 224)
    changed = x.copy()
    changed[:, :16, :16] = 255 - changed[:, :16, :16]
    difference = np.abs(np.asarray(level(x)) - np.asarray(level(changed)))[0, -1, -1]
    assert difference.max() > 0


def test_carriers_are_spread_to_the_nearest_cells():
    """Two by two carriers in a window of seven: 0 to 3 are the first's, as PyTorch's `nearest` has it."""
    carriers = np.arange(4, dtype="float32").reshape(1, 1, 4, 1)
    spread = np.asarray(CarrierSpread(7)(carriers)).reshape(7, 7)
    expected = np.array([0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(spread, 2 * expected[:, None] + expected)


def test_propagation_adds_the_scaled_carriers_to_the_cells_of_the_last_block():
    """The largest published variants end a level so, under the factor of the last block's carrier attention."""
    plain, model = (small(layer_scale=0.5, do_propagation=more) for more in (False, True))
    model.set_weights(plain.get_weights())
    x = pixels(1, 128)
    read = ["levels.2.blocks.1", "levels.2.map"]
    tokens, before = keras.Model(plain.input, [plain.get_layer(name).output for name in read])(x)
    after = keras.Model(model.input, model.get_layer("levels.2.map").output)(x)
    carriers = np.asarray(tokens)[0, :, :4].reshape(2, 2, 2, 2, -1)  # window row, column, carrier row, column
    grid = carriers.transpose(0, 2, 1, 3, 4).reshape(4, 4, -1).repeat(2, axis=0).repeat(2, axis=1)  # cells of a window
    np.testing.assert_allclose(np.asarray(after - before)[0], 0.5 * grid, atol=1e-5)
