"""Measures of the ink: right on figures whose measures are known."""

import numpy as np

from age_keras.characters.data.ink_statistics import STATISTICS, ink_statistics


def _measured(image):
    return dict(zip(STATISTICS, ink_statistics(image[None].astype(np.uint8))[0], strict=True))


def test_an_upright_bar():
    image = np.zeros((28, 28))
    image[4:24, 12:17] = 255
    found = _measured(image)
    assert found["ink"] == found["pixels"] == 100
    assert (found["height"], found["width"]) == (19, 4)  # From the first inked row to the last.
    assert (found["centre y"], found["centre x"]) == (13.5, 14)
    assert found["grey 255-255"] == 1
    assert abs(found["slant"]) < 1e-6
    assert 2.5 <= found["stroke width"] <= 3.5
    assert found["hard edges"] * 100 == 40  # Both sides of twenty rows.


def test_slant_has_the_sign_of_its_lean():
    lines = np.arange(5, 23)
    falling, rising = np.zeros((28, 28)), np.zeros((28, 28))
    falling[lines, lines], rising[lines, 27 - lines] = 255, 255
    assert _measured(falling)["slant"] > 0.9
    assert _measured(rising)["slant"] < -0.9


def test_no_ink_and_faint_ink_are_finite():
    blank, faint = np.zeros((28, 28)), np.zeros((28, 28))
    faint[10, 10] = 1
    assert not ink_statistics(blank[None].astype(np.uint8)).any()
    assert np.isfinite(list(_measured(faint).values())).all()
    assert ink_statistics(np.zeros((0, 28, 28), np.uint8)).shape == (0, len(STATISTICS))
