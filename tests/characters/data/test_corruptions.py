"""Corruptions and out-of-distribution images: they grow with the severity and repeat."""

import numpy as np
import pytest

from age_keras.characters.data.corruptions import CORRUPTIONS, corrupt
from age_keras.characters.data.out_of_distribution import out_of_distribution
from age_keras.characters.data.sources import load_sklearn
from age_keras.errors import InputError

IMAGES = load_sklearn().images[:20]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_severity_and_repeats(name):
    mild, severe = corrupt(IMAGES, name, 1), corrupt(IMAGES, name, 5)
    assert mild.shape == severe.shape == IMAGES.shape
    assert mild.dtype == np.uint8
    np.testing.assert_array_equal(severe, corrupt(IMAGES, name, 5))
    changed = [np.abs(x.astype(float) - IMAGES).mean() for x in (mild, severe)]
    assert 0 < changed[0] < changed[1]


def test_unknown_corruptions_and_severities_are_named():
    with pytest.raises(InputError, match="fog"):
        corrupt(IMAGES, "fog")
    with pytest.raises(InputError, match="severity"):
        corrupt(IMAGES, "blur", 6)


def test_strangers_have_the_images_shape_and_ink():
    sets = out_of_distribution(IMAGES, 15)
    assert {s.shape for s in sets.values()} == {(15, 28, 28)}
    assert {s.dtype for s in sets.values()} == {np.dtype(np.uint8)}
    assert not sets["blank"].any()
    assert sets["stroke letters"].max(axis=(1, 2)).min() > 150
