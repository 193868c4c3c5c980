"""The second stage of the writers' experiment: what it sees in many digits of one hand."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from age_keras.characters.training.writer_stage import WriterStage


def _hands(writers, each, seed, first=0):
    """Digits whose measures have the same mean in both groups, but spread twice as far in group 1."""
    rng = np.random.default_rng(seed)
    who = first + np.repeat(np.arange(writers), each)
    truth, classes = who % 2, rng.integers(0, 3, len(who))
    measures = rng.normal(size=(len(who), 2))
    measures[:, 0] = measures[:, 0] * (1 + truth) + 5 * classes
    return measures, classes, who, truth


def test_it_reads_from_the_spread_what_no_single_digit_says():
    measures, classes, who, truth = _hands(60, 40, 0)
    stage = WriterStage(bag=20).fit(measures, classes, who, truth, folds=3)
    measures, classes, who, truth = _hands(40, 20, 1, first=1000)
    names, scores = stage.score(measures, classes, who)
    np.testing.assert_array_equal(names, np.arange(1000, 1040))
    assert roc_auc_score(names % 2 == 1, scores) > 0.95
    assert roc_auc_score(truth == 1, measures[:, 0] - 5 * classes) == pytest.approx(0.5, abs=0.06)


def test_bags_are_of_one_writer_each_and_about_their_size():
    who = np.repeat([7, 3, 5], [50, 20, 3])
    bags = WriterStage(bag=20)._deal(who)
    for bag in np.unique(bags):
        assert len(np.unique(who[bags == bag])) == 1
    assert sorted(np.unique(bags, return_counts=True)[1]) == [3, 20, 25, 25]


def test_a_writer_of_one_digit_is_scored():
    stage = WriterStage().fit(*_hands(30, 20, 0), folds=3)
    _, scores = stage.score(np.zeros((1, 2)), np.zeros(1, int), np.array([9]))
    assert np.isfinite(scores).all()
