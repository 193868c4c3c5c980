"""The best epoch, early stopping, plateaus; and learning rates."""

import json
from dataclasses import asdict

import pytest

from age_keras.fitting.best_epoch import BestEpoch


def after(values, **settings):
    best = BestEpoch(**settings)
    for epoch, value in enumerate(values):
        best.update(epoch, value)
    return best


def test_the_first_of_equal_values_is_the_best_and_any_gain_counts():
    best = after([3.0, 2.0, 2.0, 2.0 - 1e-12])
    assert (best.epoch, best.value, best.wait) == (3, 2.0 - 1e-12, 0)
    assert after([3.0, 2.0, 2.0]).epoch == 1


@pytest.mark.parametrize(("values", "stopped"), [([1, 2, 2], True), ([1, 2], False), ([1, 2, 0, 2], False)])
def test_it_stops_after_so_many_epochs_without_progress_in_a_row(values, stopped):
    assert after(values, stop_patience=2).stopped == stopped
    assert not after(values).stopped


def test_a_value_that_is_no_number_is_no_progress_and_a_lost_training_stops():
    best = after([float("nan"), 5.0, float("nan")])
    assert (best.epoch, best.value, best.stopped) == (1, 5.0, False)
    assert not best.update(3, 6.0, diverged=True)
    assert best.stopped


def test_the_rate_falls_once_for_each_plateau():
    assert after([1, 2, 2, 2, 2], plateau_patience=2, plateau_factor=0.5).rate_factor == 0.25
    assert after([1, 2, 0, 2], plateau_patience=2).rate_factor == 1
    assert after([1, 2, 2, 2, 2]).rate_factor == 1


def test_a_state_saved_as_json_continues_as_if_nothing_had_happened():
    values = [5, 4, 6, 6, 6, 3, 4, 4, 4, 4, 4]
    settings = {"stop_patience": 5, "plateau_patience": 2, "plateau_factor": 0.3}
    for stop in range(len(values)):
        best = BestEpoch(**json.loads(json.dumps(asdict(after(values[:stop], **settings)))))
        for epoch in range(stop, len(values)):
            best.update(epoch, values[epoch])
        assert best == after(values, **settings)


def test_another_phase_keeps_the_best_and_begins_to_wait_anew():
    first = after([4, 3, 5, 5], stop_patience=2, plateau_patience=1)
    second = first.next_phase(stop_patience=3)
    assert (second.value, second.epoch) == (3, 1)
    assert (second.wait, second.rate_factor, second.stopped, second.stop_patience) == (0, 1, False, 3)
    assert not second.update(4, 3.5)
