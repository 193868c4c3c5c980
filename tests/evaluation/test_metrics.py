"""The metrics against scikit-learn, brute force, and the published tables."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from age_keras.evaluation import metrics
from age_keras.predictions.alignment import align
from age_keras.predictions.table import read_predictions

ages = hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(0.5, 100, width=32))
SPLIT_NAMES = {"MAPE (%)": "MAPE", "Within ±2 Years (%)": "Acc_2yr", "Within ±5 Years (%)": "Acc_5yr"}


@st.composite
def truth_and_prediction(draw):
    truth = draw(ages)
    prediction = draw(hnp.arrays(np.float64, len(truth), elements=st.floats(-20, 120, width=32)))
    return truth, prediction


@given(truth_and_prediction())
@settings(max_examples=80, deadline=None)
def test_equal_to_scikit_learn_and_brute_force(data):
    from sklearn import metrics as sk

    truth, prediction = data
    got = metrics.score(truth, prediction)
    assert got["MAE"] == pytest.approx(sk.mean_absolute_error(truth, prediction), abs=1e-9)
    assert got["RMSE"] == pytest.approx(sk.root_mean_squared_error(truth, prediction), abs=1e-9)
    assert got["MAPE"] == pytest.approx(100 * sk.mean_absolute_percentage_error(truth, prediction), rel=1e-9)
    assert got["Max_Error"] == pytest.approx(sk.max_error(truth, prediction))
    assert got["Median_Error"] == pytest.approx(sk.median_absolute_error(truth, prediction))
    if np.var(truth) > 1e-6:
        assert got["R2"] == pytest.approx(sk.r2_score(truth, prediction), rel=1e-6, abs=1e-6)
    errors = [abs(p - t) for t, p in zip(truth, prediction, strict=True)]
    assert got["Min_Error"] == min(errors)
    for years in (2, 5, 10):
        assert got[f"Acc_{years}yr"] == pytest.approx(100 * sum(e <= years for e in errors) / len(errors))
    assert got["Bias"] == pytest.approx(sum(prediction - truth) / len(truth), abs=1e-9)


@given(truth_and_prediction(), st.data())
@settings(max_examples=60, deadline=None)
def test_weights_equal_repeating_the_pages_of_a_writer(data, draw):
    truth, prediction = data
    groups = np.asarray(draw.draw(st.lists(st.integers(0, 4), min_size=len(truth), max_size=len(truth))))
    groups = np.unique(groups, return_inverse=True)[1]
    n = int(groups.max()) + 1
    counts = np.asarray(draw.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), dtype=np.float64)
    repeat = counts[groups].astype(int)
    if repeat.sum() < 2 or np.var(np.repeat(truth, repeat)) < 1e-6:
        return
    want = metrics.score(np.repeat(truth, repeat), np.repeat(prediction, repeat))
    got = metrics.weighted_sum_scores(truth, prediction[None], groups, counts[None])
    for name in metrics.SUM_METRICS:
        assert got[name].item() == pytest.approx(want[name], rel=1e-6, abs=1e-6), name
    median = metrics.weighted_median_error(truth, prediction[None], groups, counts[None])
    assert median.item() == pytest.approx(want["Median_Error"])


def test_many_models_at_once_equal_one_at_a_time():
    rng = np.random.default_rng(0)
    truth, prediction = rng.uniform(8, 60, 50), rng.uniform(8, 60, (3, 50))
    together = metrics.score(truth, prediction)
    for i in range(3):
        for name, value in metrics.score(truth, prediction[i]).items():
            assert together[name][i] == value


def test_what_is_not_defined_is_nan_not_a_number():
    one = metrics.score(np.array([20.0]), np.array([21.0]))
    assert np.isnan(one["R2"])
    assert one["MAE"] == 1
    assert np.isnan(metrics.score(np.zeros(3), np.ones(3))["MAPE"])
    assert np.isnan(metrics.score(np.full(3, 15.0), np.ones(3))["R2"])


def test_error_of_exactly_two_years_is_within_two():
    assert metrics.score(np.array([10.0, 10.0]), np.array([12.0, 12.1]))["Acc_2yr"] == 50


def test_the_slope_of_a_constant_is_zero_and_of_the_truth_one():
    truth = np.array([8.0, 15.0, 30.0])
    assert metrics.slope(truth, np.stack([truth, np.full(3, 15.0), 5 + truth / 2])) == pytest.approx([1, 0, 0.5])


def test_per_writer_averages_pages():
    got = metrics.per_writer(np.array([[1.0, 3.0, 10.0]]), np.array([0, 0, 1]))
    assert got.tolist() == [[2.0, 10.0]]


def test_published_cross_validation_table(shared_data):
    """All 90 figures of the CNN table, to the last digit; sd with n-1."""
    table = align(read_predictions(shared_data / "published/cnn_cv_oof.csv"))
    folds = metrics.by_fold(table.truth, table.predictions, table.pages.Fold.to_numpy())
    want = pd.read_csv(shared_data / "published/expected_cnn_cv.csv").set_index("Model")
    compared = 0
    for column in want:
        name, kind = column.rsplit("_", 1)
        got = folds[name].mean(axis=1) if kind == "mean" else folds[name].std(axis=1, ddof=1)
        np.testing.assert_array_equal(np.round(got, 2), want.loc[list(table.models), column], err_msg=column)
        compared += len(got)
    assert compared == 90


@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_published_split_tables(shared_data, family):
    table = align(read_predictions(shared_data / f"published/{family}_split_test.csv"))
    scores = metrics.score(table.truth, table.predictions)
    want = pd.read_csv(shared_data / f"published/expected_{family}_split_single.csv").set_index("Model")
    for column in want:
        name = SPLIT_NAMES.get(column, column.replace(" ", "_"))
        np.testing.assert_array_equal(np.round(scores[name], 2), want.loc[list(table.models), column], err_msg=column)
