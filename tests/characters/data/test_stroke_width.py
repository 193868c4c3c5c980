"""Thicker and thinner strokes: which images, which way, and nothing from a neighbour."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from age_keras.characters.data.stroke_width import vary_width
from age_keras.characters.data.warp import WarpSettings, warp_batch


def _strokes(count, side=28):
    images = np.zeros((count, side, side), np.uint8)
    images[:, 4:-4, side // 2 - 1 : side // 2 + 2] = 200
    return images


def test_half_of_the_share_grows_and_half_shrinks():
    images = _strokes(2000)
    ink = vary_width(images, np.random.default_rng(0), 0.6).sum(axis=(1, 2), dtype=float) / images[0].sum()
    assert 0.25 < (ink > 1).mean() < 0.35
    assert 0.25 < (ink < 1).mean() < 0.35
    assert ink.min() > 0.3
    assert ink.max() < 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_a_blank_stays_blank_and_no_neighbour_leaks_in(seed, count):
    images = np.random.default_rng(seed).integers(0, 256, (2 * count, 12, 12), dtype=np.uint8)
    images[::2] = 0
    changed = vary_width(images, np.random.default_rng(seed), 1.0)
    assert not changed[::2].any()
    np.testing.assert_array_equal(changed, vary_width(images, np.random.default_rng(seed), 1.0))


def test_the_warp_varies_the_width_where_it_is_told_to():
    still = {"rotation": 0, "zoom": 0, "shear": 0, "shift": 0, "elastic": 0}
    images = _strokes(50)
    assert (warp_batch(images, np.random.default_rng(0), WarpSettings(**still)) == images).all()
    assert (
        (warp_batch(images, np.random.default_rng(0), WarpSettings(**still, width=1.0)) != images)
        .any(axis=(1, 2))
        .all()
    )
