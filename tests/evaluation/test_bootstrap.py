"""The bootstrap over writers."""

import numpy as np
import pytest

from age_keras.evaluation import metrics
from age_keras.evaluation.bootstrap import bootstrap_scores, percentile_interval, writer_weights


def test_weights_draw_as_many_writers_as_there_are():
    weights = writer_weights(30, 500, seed=1)
    assert weights.shape == (500, 30)
    assert (weights.sum(axis=1) == 30).all()
    assert weights.mean() == pytest.approx(1)
    np.testing.assert_array_equal(weights, writer_weights(30, 500, seed=1))
    assert (weights != writer_weights(30, 500, seed=2)).any()


def test_equal_to_resampling_one_by_one():
    rng = np.random.default_rng(0)
    truth, prediction = rng.uniform(8, 60, 40), rng.uniform(8, 60, (2, 40))
    writers = np.unique(rng.integers(0, 12, 40), return_inverse=True)[1]
    weights = writer_weights(writers.max() + 1, 50)
    got = bootstrap_scores(truth, prediction, writers, weights)
    for b in range(50):
        rows = np.repeat(np.arange(40), weights[b][writers].astype(int))
        want = metrics.score(truth[rows], prediction[:, rows])
        for name in got:
            np.testing.assert_allclose(got[name][:, b], want[name], err_msg=name)


def test_interval_covers_as_often_as_it_says():
    """Pages share their writer's error; 95 % intervals hold the true mean in about 95 % of trials."""
    rng, covered, trials = np.random.default_rng(3), 0, 200
    weights = writer_weights(40, 400)
    writers = np.repeat(np.arange(40), 5)
    for _ in range(trials):
        error = np.repeat(rng.normal(1, 2, 40), 5) + rng.normal(0, 0.5, 200)
        truth = np.full(200, 20.0)
        draws = metrics.weighted_sum_scores(truth, (truth + error)[None], writers, weights, ("Bias",))["Bias"]
        low, high = percentile_interval(draws)[0]
        covered += low <= 1 <= high
    assert 0.88 * trials <= covered <= trials


def test_no_interval_without_resamples_or_from_one_writer():
    assert np.isnan(percentile_interval(np.empty((3, 0)))).all()
    assert np.isnan(percentile_interval(np.ones((3, 9)), writers=1)).all()
    assert percentile_interval(np.array([1.0, np.nan, 1.0])).tolist() == [1, 1]
