"""Learning rates over a training."""

import numpy as np
import pytest

from age_keras.fitting.schedules import rate_factor

DONE = np.linspace(0, 1, 101)


def test_a_cosine_falls_from_one_to_exactly_zero_at_the_end():
    rates = rate_factor("cosine", DONE)
    assert (rates[0], rates[50], rates[-1]) == pytest.approx((1, 0.5, 0), abs=1e-15)
    assert (np.diff(rates) < 0).all()


def test_the_warm_up_is_linear_and_the_cosine_begins_at_its_end():
    rates = rate_factor("cosine", DONE, warmup=0.2)
    assert (rates[0], rates[10], rates[20], rates[60], rates[-1]) == pytest.approx((0.1, 0.55, 1, 0.5, 0), abs=1e-12)
    assert rate_factor("cosine", DONE, warmup=0.2, start=0.5, end=0.3)[[0, -1]] == pytest.approx([0.5, 0.3])


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_other_schedules_keep_the_peak_after_the_warm_up(schedule):
    rates = rate_factor(schedule, DONE, warmup=0.1)
    assert rates[:11] == pytest.approx(np.linspace(0.1, 1, 11))
    assert (rates[10:] == 1).all()


def test_a_warm_up_as_long_as_the_training_only_rises():
    assert rate_factor("cosine", DONE, warmup=1.0)[:-1] == pytest.approx(0.1 + 0.9 * DONE[:-1])
