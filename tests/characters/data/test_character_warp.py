"""Warps of small images: where the ink goes, and that the same seed gives the same copies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from age_keras.characters.config import WarpSettings
from age_keras.characters.data.warp import affine_batch, vary_stroke_width, warp_batch

NOTHING = WarpSettings(rotation=0, zoom=0, shear=0, shift=0, elastic=0)


def _dot(row, column, side=28):
    image = np.zeros((1, side, side), np.uint8)
    image[0, row - 1 : row + 2, column - 1 : column + 2] = 255
    return image


def _centre(image):
    mass = image.astype(float)
    line = np.arange(image.shape[-1])
    return (mass.sum(1) @ line) / mass.sum(), (mass.sum(0) @ line) / mass.sum()


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 40), st.integers(0, 9), st.integers(0, 1000))
def test_no_warp_changes_nothing_and_shapes_stay(side, count, seed):
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)
    np.testing.assert_array_equal(warp_batch(images, np.random.default_rng(seed), NOTHING), images)
    warped = warp_batch(images, np.random.default_rng(seed), WarpSettings(erase=0.5))
    assert warped.shape == images.shape
    assert warped.dtype == np.uint8
    np.testing.assert_array_equal(warped, warp_batch(images, np.random.default_rng(seed), WarpSettings(erase=0.5)))


def test_a_shift_moves_right_and_down():
    assert _centre(affine_batch(_dot(10, 10), shift_x=4, shift_y=2)[0]) == pytest.approx((12, 14), abs=0.05)


def test_a_positive_rotation_is_counter_clockwise():
    row, column = _centre(affine_batch(_dot(14, 22), rotation=90)[0])
    assert row < 8
    assert abs(column - 13.5) < 1


def test_zoom_enlarges_and_what_comes_from_outside_is_ground():
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 9:19, 9:19] = 255
    assert affine_batch(image, zoom=1.5).sum() > 2 * image.sum()
    assert affine_batch(np.full((1, 28, 28), 255, np.uint8), shift_y=9)[0, :8].max() == 0


def test_neighbours_in_a_batch_do_not_leak_into_each_other():
    images = np.zeros((2300, 28, 28), np.uint8)
    images[::2] = 255
    out = affine_batch(images, shift_y=6)
    assert out[1::2].max() == 0
    assert out[2298, 10].min() == 255


def test_each_image_has_its_own_warp_and_ink_is_kept():
    images = np.repeat(_dot(14, 14), 200, axis=0)
    out = warp_batch(images, np.random.default_rng(0))
    assert len(np.unique(out.reshape(200, -1), axis=0)) > 150
    assert 0.7 < out.sum() / images.sum() < 1.3


def test_erasing_takes_boxes_from_the_wanted_share():
    images = np.full((400, 28, 28), 255, np.uint8)
    settings = WarpSettings(rotation=0, zoom=0, shear=0, shift=0, elastic=0, erase=0.5)
    erased = (warp_batch(images, np.random.default_rng(0), settings) == 0).any(axis=(1, 2))
    assert 0.4 < erased.mean() < 0.6


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="Received"):
        warp_batch(np.zeros((2, 28, 28, 1), np.uint8), np.random.default_rng(0))


def _strokes(count, side=28):
    images = np.zeros((count, side, side), np.uint8)
    images[:, 4:-4, side // 2 - 1 : side // 2 + 2] = 200
    return images


def test_half_of_the_share_grows_and_half_shrinks():
    images = _strokes(2000)
    ink = vary_stroke_width(images, np.random.default_rng(0), 0.6).sum(axis=(1, 2), dtype=float) / images[0].sum()
    assert 0.25 < (ink > 1).mean() < 0.35
    assert 0.25 < (ink < 1).mean() < 0.35
    assert ink.min() > 0.3
    assert ink.max() < 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_a_blank_stays_blank_and_no_neighbour_leaks_in(seed, count):
    images = np.random.default_rng(seed).integers(0, 256, (2 * count, 12, 12), dtype=np.uint8)
    images[::2] = 0
    changed = vary_stroke_width(images, np.random.default_rng(seed), 1.0)
    assert not changed[::2].any()
    np.testing.assert_array_equal(changed, vary_stroke_width(images, np.random.default_rng(seed), 1.0))


def test_the_warp_varies_the_width_where_it_is_told_to():
    still = {"rotation": 0, "zoom": 0, "shear": 0, "shift": 0, "elastic": 0}
    images = _strokes(50)
    assert (warp_batch(images, np.random.default_rng(0), WarpSettings(**still)) == images).all()
    assert (
        (warp_batch(images, np.random.default_rng(0), WarpSettings(**still, width=1.0)) != images)
        .any(axis=(1, 2))
        .all()
    )
