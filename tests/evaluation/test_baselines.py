"""Constants from the training pages, and which of them."""

import numpy as np
import pandas as pd
import pytest

from age_keras.errors import InputError
from age_keras.evaluation.baselines import constants, training_constants
from age_keras.predictions.alignment import align
from age_keras.predictions.labels import labels_of, read_labels
from age_keras.predictions.table import read_predictions


def pages(**columns):
    base = {"ImageID": list("abcd"), "TrueAge": [10.0, 12, 30, 40], "Fold": 0, "Writer": list("wxyz")}
    return pd.DataFrame({**base, **columns})


def by_name(found):
    return {c.name: c for c in found}


def test_writers_count_once():
    found = training_constants(np.array([10, 20, 20, 20, 30]), np.array(["a", "b", "b", "b", "c"]))
    assert found == {"writer_median": 20, "page_median": 20, "writer_mean": 20, "page_mean": 20}
    found = training_constants(np.array([10, 12, 50, 50, 50]), np.array([1, 2, 3, 3, 3]))
    assert found == {"writer_median": 12, "page_median": 50, "writer_mean": 24, "page_mean": 34.4}


def test_only_training_rows_of_the_labels():
    labels = labels_of(pd.DataFrame({"ImageID": list("efg"), "Age": [8, 50, 60], "Split": ["train", "val", "test"]}))
    assert by_name(constants(pages(), labels))["page_median"].years == "8"
    with pytest.raises(InputError, match="no rows of the split 'train'"):
        constants(pages(), labels[labels.Split != "train"])


def test_each_fold_from_the_writers_outside_it():
    found = by_name(constants(pages(Fold=[1, 1, 2, 2])))
    assert found["page_median"].predictions.tolist() == [35, 35, 11, 11]
    assert found["page_median"].years == "11 to 35"
    assert not found["page_median"].hindsight


def test_without_training_pages_in_hindsight():
    found = by_name(constants(pages()))
    assert found["hindsight_median"].predictions.tolist() == [21] * 4
    assert all(c.hindsight for c in found.values())


def test_constant_of_each_source_does_not_count():
    found = by_name(constants(pages(Fold=[1, 2, 1, 2], Source=["s", "s", "t", "t"])))
    assert found["source_median"].predictions.tolist() == [12, 10, 40, 30]
    assert not found["source_median"].counts


def test_published_constants(shared_data):
    """The official split: 15 years (training writers) has MAE 2.65; grouped CV: the training median has 5.73."""
    labels = read_labels(shared_data / "hhd/labels.csv")
    table = align(read_predictions(shared_data / "published/cnn_split_test.csv"))
    found = by_name(constants(table.pages, labels))
    assert found["writer_median"].years == "15"
    assert found["page_median"].years == "18"
    assert np.abs(found["writer_median"].predictions - table.truth).mean() == pytest.approx(2.65, abs=0.005)
    table = align(read_predictions(shared_data / "published/cnn_cv_oof.csv"))
    for given in (None, labels):
        error = np.abs(by_name(constants(table.pages, given))["page_median"].predictions - table.truth)
        folds = [error[table.pages.Fold == k].mean() for k in range(1, 6)]
        assert np.mean(folds) == pytest.approx(5.73, abs=0.005)


def test_folds_that_leave_nothing_to_learn_from_are_judged_in_hindsight():
    leaky = pages(Fold=[1, 1, 2, 2], Writer=["w", "x", "w", "x"])
    assert all(c.hindsight for c in constants(leaky))
