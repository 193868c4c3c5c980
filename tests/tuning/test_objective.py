"""The race, the scores of a fold, and how much a search flatters its choice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.failures import RefusedError, cause_of
from tuning.objective import age_scores, mean_and_sd, race, selection_bias

BEST = [4.0, 5.0, 4.5, 5.5, 5.0]
figures = st.lists(st.floats(0.1, 50), min_size=2, max_size=8)


def test_scores_of_a_fold():
    scores = age_scores(np.array([10.0, 12.0, 40.0]), np.array([11.0, 12.0, 20.0]), constant=12.0, edges=(15, 25, 50))
    assert scores["mae"] == pytest.approx(7.0)
    assert scores["band_mae"] == pytest.approx((0.5 + 20) / 2)
    assert scores["skill"] == pytest.approx(1 - 7 / 10)


def test_a_hopeless_trial_is_cut_after_its_first_fold():
    assert race([9.0], BEST, 1.0, 1)[0]
    assert not race([4.2], BEST, 1.0, 1)[0]
    assert not race([9.0], None, 1.0, 1)[0]


def test_hard_folds_count_for_nobody():
    # The second fold is a hard one for the best trial too.
    assert not race([4.1, 5.2], BEST, 1.0, 1)[0]


def test_where_more_is_better_less_is_cut():
    best = [0.3, 0.2, 0.25]
    assert race([0.0], best, 1.0, -1)[0]
    assert not race([0.5], best, 1.0, -1)[0]


@given(figures, st.floats(0.1, 3), st.integers(1, 7))
def test_a_better_trial_is_never_cut_and_a_cut_one_never_looks_better(best, strength, k):
    k = min(k, len(best))
    better = [value * 0.99 for value in best[:k]]
    assert not race(better, best, strength, 1)[0]
    cut, estimate = race([value + 100 for value in best[:k]], best, strength, 1)
    assert cut == (k < len(best))
    assert estimate > np.mean(best)


@given(figures)
def test_strength_zero_never_cuts(best):
    assert not race([1e6], best, 0.0, 1)[0]


def test_choosing_among_equals_flatters_and_a_clear_winner_does_not():
    assert selection_bias([1, 2, 3], [[1, 2, 3], [4, 5, 6]], 1) == 0
    assert selection_bias([1, 3], [[1, 3], [3, 1]], 1) == pytest.approx(1.0)
    assert mean_and_sd([2.0]) == (2.0, 0.0)


def test_like_failures_have_one_cause():
    assert cause_of(MemoryError())[0] == "memory"
    assert cause_of(RefusedError("nan", "fold 2")) == ("nan", "nan: fold 2")
    assert cause_of(ValueError("dim 7 of 12"))[0] == cause_of(ValueError("dim 9 of 3"))[0]
    assert cause_of(ValueError("a"))[0] != cause_of(ValueError("b"))[0]
