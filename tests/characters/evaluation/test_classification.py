"""Accuracy with its interval, intervals over seeds, the hardest cases."""

import numpy as np
import pytest

from age_keras.characters.evaluation.classification import accuracy, hardest, mean_interval


def test_the_interval_of_an_accuracy_is_the_published_one():
    # Newcombe 1998, table I: 81 of 263 by Wilson's method is 0.2553 to 0.3662.
    found = accuracy(np.zeros(263), np.repeat([0, 1], [81, 182]))
    assert (found.right, found.count) == (81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert accuracy(np.zeros(10), np.zeros(10)).high == pytest.approx(1)
    nothing = accuracy(np.zeros(0), np.zeros(0))
    assert np.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (0, 1)


def test_hardest_come_first():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    assert hardest(np.array([0, 0, 0]), probabilities, 2).tolist() == [1, 2]


def test_interval_over_seeds_is_students():
    mean, low, high = mean_interval([0.996, 0.9965, 0.9971])
    assert mean == pytest.approx(0.996533, abs=1e-6)
    assert high - mean == pytest.approx(mean - low) == pytest.approx(4.302653 * 0.000318, rel=1e-3)
    assert np.isnan(mean_interval([0.5])[1])
