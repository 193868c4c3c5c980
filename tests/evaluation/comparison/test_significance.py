"""Paired tests: right under the null, right about writers, fast, and consistent with their intervals."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from age_keras.errors import InputError
from age_keras.evaluation import metrics
from age_keras.evaluation.bootstrap import writer_weights
from age_keras.evaluation.comparison.significance import compare, holm
from age_keras.predictions.alignment import align
from age_keras.predictions.table import read_predictions


def two_models(rng, writers=60, pages=5, shift=0.0):
    """Two models whose errors are alike on average; pages of a writer share most of their error."""
    who = np.repeat(np.arange(writers), rng.integers(1, pages + 1, writers))
    truth = rng.uniform(8, 60, len(who))
    errors = rng.gamma(2, 2, (2, writers))[:, who] + rng.gamma(1, 0.5, (2, len(who)))
    errors[1] += shift
    return truth, truth + errors, who


def test_p_values_are_uniform_under_the_null():
    from scipy.stats import kstest

    rng, p = np.random.default_rng(5), []
    for seed in range(300):
        p.append(compare(*two_models(rng), resamples=400, seed=seed)[0].p)
    assert kstest(p, "uniform").pvalue > 0.01
    assert abs(np.mean(np.array(p) < 0.05) - 0.05) < 3 * np.sqrt(0.05 * 0.95 / 300)


def test_pages_as_units_find_differences_where_there_are_none():
    rng = np.random.default_rng(6)
    found = [compare(*two_models(rng, 30, 20), by="page", resamples=200)[0].p < 0.05 for _ in range(60)]
    assert np.mean(found) > 0.2


def test_a_true_difference_is_found_in_years():
    pair = compare(*two_models(np.random.default_rng(7), 200, shift=2.0))[0]
    assert pair.p < 0.001
    assert pair.interval[0] < -2 < pair.interval[1]
    assert pair.difference == pytest.approx(-2, abs=0.7)


def test_equal_to_resampling_one_by_one():
    truth, predictions, who = two_models(np.random.default_rng(8), 12)
    pair = compare(truth, predictions, who, resamples=500)[0]
    paired = np.abs(predictions[0] - truth) - np.abs(predictions[1] - truth)

    def studentised(writers, centre):
        pages = [paired[who == w] for w in writers]
        mean = np.concatenate(pages).mean()
        error = np.sqrt(sum(((x - mean).sum()) ** 2 for x in pages)) / sum(map(len, pages))
        return abs(mean - centre) / error

    seen = studentised(range(12), 0)
    drawn = [
        studentised(np.repeat(np.arange(12), row.astype(int)), paired.mean())
        for row in writer_weights(12, 500, np.random.default_rng(0))
    ]
    assert pair.p == pytest.approx((1 + sum(t >= seen for t in drawn)) / 501)
    assert pair.difference == pytest.approx(paired.mean())


@given(st.sampled_from(metrics.SUM_METRICS), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_interval_leaves_zero_out_exactly_where_p_is_small(metric, seed):
    rng = np.random.default_rng(seed)
    truth, predictions, who = two_models(rng, 20, shift=rng.choice([0.0, 1.0, 2.0]))
    pair = compare(truth, predictions, who, metric=metric, resamples=199)[0]
    scores = metrics.score(truth, predictions)[metric]
    assert pair.difference == pytest.approx(scores[0] - scores[1])
    assert pair.interval[0] <= pair.difference <= pair.interval[1]
    if abs(pair.p - 0.05) > 0.006:
        assert (pair.p < 0.05) == (pair.interval[0] > 0 or pair.interval[1] < 0)


def test_swapping_the_models_turns_the_sign_alone():
    truth, predictions, who = two_models(np.random.default_rng(9))
    one = compare(truth, predictions, who, resamples=300)[0]
    two = compare(truth, predictions[::-1], who, resamples=300)[0]
    assert two.p == one.p
    assert two.difference == pytest.approx(-one.difference)
    assert two.interval == pytest.approx((-one.interval[1], -one.interval[0]))


def test_a_model_does_not_differ_from_itself():
    truth, predictions, who = two_models(np.random.default_rng(10))
    pair = compare(truth, predictions[[0, 0]], who, resamples=200)[0]
    assert (pair.difference, pair.p, pair.interval) == (0, 1, (0, 0))


def test_one_writer_says_nothing():
    truth, predictions, _ = two_models(np.random.default_rng(11))
    pair = compare(truth, predictions, np.zeros(len(truth), int), resamples=200)[0]
    assert np.isnan(pair.p)
    assert np.isnan(pair.interval).all()
    assert not pair.differ


def test_reference_makes_a_smaller_family():
    truth, predictions, who = two_models(np.random.default_rng(12))
    predictions = np.vstack([predictions, truth + 1, truth])
    assert len(compare(truth, predictions, who, resamples=200)) == 6
    against = compare(truth, predictions, who, reference=2, resamples=200)
    assert [(pair.a, pair.b) for pair in against] == [(0, 2), (1, 2), (3, 2)]


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 1)))
def test_holm_by_its_definition(p):
    got = holm(p)
    order = np.argsort(p, kind="stable")
    worst = 0.0
    for place, number in enumerate(order):
        worst = max(worst, min(1.0, p[number] * (len(p) - place)))
        assert got[number] == pytest.approx(worst)
    assert (got >= p - 1e-12).all()


def test_bad_input():
    with pytest.raises(InputError, match="two models"):
        compare(np.ones(3), np.ones((1, 3)), np.arange(3))
    with pytest.raises(InputError, match="Max_Error"):
        compare(np.ones(3), np.ones((2, 3)), np.arange(3), metric="Max_Error")


def test_thirteen_models_in_under_three_seconds():
    rng = np.random.default_rng(13)
    who = np.r_[np.arange(494), np.repeat(np.arange(494, 562), 6)][:882]
    truth = rng.uniform(8, 60, 882)
    predictions = truth + rng.normal(0, 5, (13, 882))
    start = time.process_time()
    pairs = compare(truth, predictions, np.unique(who, return_inverse=True)[1])
    assert len(pairs) == 78
    assert time.process_time() - start < 3


def test_published_cross_validation(shared_data):
    """Eight of the ten pairs of CNNs differ over pages, two over writers."""
    table = align(read_predictions(shared_data / "published/cnn_cv_oof.csv"))
    pages = compare(table.truth, table.predictions, table.writers, by="page")
    writers = compare(table.truth, table.predictions, table.writers)
    assert sum(pair.differ for pair in pages) == 8
    assert {(table.models[p.a], table.models[p.b]) for p in writers if p.differ} == {
        ("DenseNet121", "EfficientNetV2M"),
        ("InceptionV3", "EfficientNetV2M"),
    }
