"""Conformal methods: the promised coverage of new writers, by every method, on arrays alone."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from age_keras.conformal import methods
from age_keras.conformal.methods import Pages, cross_plus, merged_groups
from age_keras.conformal.quantile import hierarchical_quantile, page_weights, writers_needed


def cohort(rng, writers, folds=0, most=8):
    """Writers with one to many pages; errors are the writer's own, larger for the old, and a little the page's."""
    pages = rng.integers(1, most + 1, writers)
    who = np.repeat(np.arange(writers), pages)
    age = rng.gamma(3, 8, writers) + 8
    truth = age[who]
    error = rng.normal(0, 0.2 * age)[who] + rng.normal(0, 1, len(who))
    spread = 0.2 * truth * rng.uniform(0.5, 1.5, len(who))
    fold = (who % folds + 1) if folds else None
    said = truth + error
    return Pages(said, who, truth, said - spread, said + spread, fold, np.searchsorted([15, 25, 50], said))


def one_page_each(pages):
    return pages.rows(np.unique(pages.writers, return_index=True)[1])


@pytest.mark.parametrize("method", ["split", "mondrian", "quantile"])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_covers_new_writers_as_often_as_it_says(method, coverage):
    """Over many cohorts, one page of each new writer: within binomial bounds of what is promised."""
    rng, trials, new = np.random.default_rng(1), 150, 20
    bound, hits = getattr(methods, method), []
    for _ in range(trials):
        fresh = one_page_each(cohort(rng, new))
        lower, upper = bound(cohort(rng, 60), fresh, coverage)
        hits.append(((lower <= fresh.truth) & (fresh.truth <= upper)).mean())
    # The cohorts differ, so the bound is from their own spread, which holds the binomial one.
    error = np.std(hits) / np.sqrt(trials)
    assert error >= 0.8 * np.sqrt(coverage * (1 - coverage) / (trials * new))
    assert np.mean(hits) > coverage - 3 * error
    if method != "mondrian":
        assert np.mean(hits) < coverage + 0.05 + 3 * error


def test_mondrian_covers_in_each_band_of_predictions():
    rng, hits = np.random.default_rng(2), {0: [], 1: [], 2: []}
    for _ in range(60):
        fresh = one_page_each(cohort(rng, 60))
        lower, upper = methods.mondrian(cohort(rng, 300), fresh, 0.8)
        for group, seen in hits.items():
            seen.extend(((lower <= fresh.truth) & (fresh.truth <= upper))[fresh.groups == group])
    for seen in hits.values():
        assert np.mean(seen) > 0.8 - 4 * np.sqrt(0.16 / len(seen))


def test_a_writer_with_many_pages_counts_once():
    """By page this calibration would promise far too little."""
    scores = np.r_[np.zeros(400), np.arange(1.0, 20.0)]
    writers = np.r_[np.zeros(400, int), np.arange(1, 20)]
    assert np.quantile(scores, 0.9) == 0
    assert hierarchical_quantile(scores, writers, 0.9) == 18


@given(st.integers(1, 60), st.floats(0.05, 0.97), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_one_page_a_writer_is_the_usual_conformal_quantile(n, level, random):
    scores = np.array([random.uniform(0, 50) for _ in range(n)])
    place = int(np.ceil((n + 1) * level - 1e-7))
    want = np.inf if place > n else np.sort(scores)[place - 1]
    assert hierarchical_quantile(scores, np.arange(n), level) == want
    assert np.isfinite(want) == (n >= writers_needed(level))


@given(
    hnp.arrays(np.float64, (2, 12), elements=st.floats(0, 30)),
    st.lists(st.integers(0, 5), min_size=12, max_size=12),
    st.floats(0.3, 0.9),
)
@settings(max_examples=60, deadline=None)
def test_quantile_by_its_definition(scores, writers, level):
    writers = np.array(writers)
    weight = page_weights(writers)
    for row, got in zip(scores, hierarchical_quantile(scores, writers, level), strict=True):
        holding = [s for s in row if weight[row <= s].sum() >= level - 1e-9]
        assert got == (min(holding) if holding else np.inf)


def test_too_few_writers_promise_nothing_narrow():
    rng = np.random.default_rng(3)
    lower, upper = methods.split(cohort(rng, 8), cohort(rng, 3), 0.9)
    assert (lower == 0).all()
    assert (upper == 120).all()
    assert writers_needed(0.9) == 9
    assert (methods.split(cohort(rng, 9), cohort(rng, 3), 0.9)[1] < 120).any()


def test_groups_with_few_writers_join_the_one_below():
    def merged(*sizes):
        groups = np.repeat(np.arange(4), sizes)
        return merged_groups(Pages(groups, np.arange(len(groups)), groups, groups=groups), 4, 0.9).tolist()

    assert merged(40, 30, 1, 1) == [0, 1, 1, 1]
    assert merged(1, 40, 40, 0) == [0, 0, 2, 2]


def test_mondrian_gives_each_group_its_own_width():
    groups = np.repeat([0, 1, 2], 40)
    errors = np.array([0.1, 3.0, 6.0])[groups]
    old = Pages(np.full(120, 30.0), np.arange(120), 30 + errors, groups=groups)
    new = Pages(np.full(3, 30.0), groups=np.arange(3))
    lower, upper = methods.mondrian(old, new, 0.9)
    np.testing.assert_allclose(upper - lower, [0.2, 6, 12])


def test_cv_plus_covers_and_equals_its_definition():
    rng = np.random.default_rng(4)
    old = cohort(rng, 40, folds=4)
    votes = rng.uniform(10, 40, (4, 5))
    lower, upper = cross_plus(old, votes, np.arange(1, 5), 0.9)
    errors, weight = np.abs(old.truth - old.prediction), page_weights(old.writers)
    for page in range(5):
        ups = votes[old.folds - 1, page] + errors
        downs = votes[old.folds - 1, page] - errors
        high = min(u for u in ups if weight[ups <= u].sum() >= 0.9 - 1e-9)
        low = max(d for d in downs if weight[downs >= d].sum() >= 0.9 - 1e-9)
        assert upper[page] == pytest.approx(min(high, 120))
        assert lower[page] == pytest.approx(max(low, 0))


def test_quantile_bounds_hold_their_prediction():
    rng = np.random.default_rng(5)
    old = cohort(rng, 60)
    wide = Pages(old.prediction, old.writers, old.truth, old.truth - 40, old.truth + 40)
    new = Pages(np.array([30.0]), lower=np.array([29.0]), upper=np.array([31.0]))
    lower, upper = methods.quantile(wide, new, 0.8)
    assert lower[0] <= 30 <= upper[0]


def test_arrays_are_all_it_needs():
    code = (
        "import sys, age_keras.conformal.methods, age_keras.conformal.quantile\n"
        "print([m for m in ('pandas', 'scipy', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
