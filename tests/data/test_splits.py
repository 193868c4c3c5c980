"""Splits: no writer in two parts, every band in every part, shares kept, refusals in one sentence."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from age_keras.bands import BAND_EDGES, band_index, band_names
from age_keras.data.splits import (
    folds_from_column,
    holdout,
    inner_split,
    kfold,
    refuse_leak,
    repeated_kfold,
)
from age_keras.errors import InputError


def cohort(seed=0, writers=60, most_pages=6):
    rng = np.random.default_rng(seed)
    pages = rng.integers(1, most_pages + 1, writers)
    return pd.DataFrame(
        {
            "Writer": np.repeat([f"w{i}" for i in range(writers)], pages),
            "Age": np.repeat(rng.choice([9, 12, 18, 23, 34, 47, 58, 80], writers), pages).astype(float),
        }
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(40, 120), st.integers(1, 40))
def test_folds_share_no_writer_and_no_band_is_missing(seed, folds, writers, most_pages):
    table = cohort(seed, writers, most_pages)
    bands = band_index(table["Age"].to_numpy(), BAND_EDGES)
    per_band = table.assign(band=bands).groupby("band")["Writer"].nunique()
    if per_band.min() < folds:
        with pytest.raises(InputError, match="too few for"):
            kfold(table, folds, seed, BAND_EDGES)
        return
    parts = kfold(table, folds, seed, BAND_EDGES)
    refuse_leak(table, parts)
    assert set(parts) == set(range(1, folds + 1))
    assert all(set(bands[parts == fold]) == set(bands) for fold in range(1, folds + 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 80))
def test_holdout_shares_no_writer_and_has_every_part(seed, writers):
    table = cohort(seed, writers)
    parts = holdout(table, 0.2, 0.2, seed, BAND_EDGES)
    refuse_leak(table, parts)
    assert set(parts) == {"train", "val", "test"}


def test_the_seed_fixes_the_split_and_the_row_order_does_not_move_a_writer():
    table = cohort()
    parts = kfold(table, 3, 4, BAND_EDGES)
    assert np.array_equal(parts, kfold(table, 3, 4, BAND_EDGES))
    assert not np.array_equal(parts, kfold(table, 3, 5, BAND_EDGES))
    shuffled = table.sample(frac=1, random_state=1)
    assert np.array_equal(kfold(shuffled, 3, 4, BAND_EDGES), parts[shuffled.index])


def test_folds_are_balanced_in_pages_though_one_writer_has_forty():
    table = pd.concat([cohort(1, 200, 3), pd.DataFrame({"Writer": ["many"] * 40, "Age": [41.0] * 40})])
    pages = np.bincount(kfold(table, 5, 0, BAND_EDGES))[1:]
    assert pages.max() <= 1.25 * pages.min()


def test_holdout_keeps_the_shares():
    parts = holdout(cohort(2, 300, 3), 0.1, 0.2, 0, BAND_EDGES)
    assert np.mean(parts == "val") == pytest.approx(0.1, abs=0.02)
    assert np.mean(parts == "test") == pytest.approx(0.2, abs=0.02)


def test_more_folds_than_a_band_has_writers_names_the_band():
    table = pd.DataFrame({"Writer": list("abcdefgh"), "Age": [10, 11, 12, 13, 14, 15, 60, 61]})
    with pytest.raises(InputError, match=r">50 has 2 writers, too few for 3 folds: use at most 2 folds"):
        kfold(table, 3, 0, BAND_EDGES)


def test_a_leak_names_the_writer():
    table = pd.DataFrame({"Writer": ["a", "a", "b"], "Age": [10.0, 10, 20], "Fold": [1, 2, 2]})
    with pytest.raises(InputError, match=r"1 writers have pages in two parts of the column 'Fold' \(a\)"):
        folds_from_column(table)


@pytest.mark.parametrize(
    ("folds", "message"),
    [([1, 1, 1], "a single fold"), ([1, None, 2], "empty for 1 pages")],
)
def test_a_column_that_gives_no_folds(folds, message):
    table = pd.DataFrame({"Writer": ["a", "b", "c"], "Age": [10.0, 10, 20], "Fold": folds})
    with pytest.raises(InputError, match=message):
        folds_from_column(table)
    with pytest.raises(InputError, match="no column 'Other'"):
        folds_from_column(table, "Other")


def test_impossible_shares_and_too_few_writers():
    with pytest.raises(InputError, match="training pages are left"):
        holdout(cohort(), 0.5, 0.5, 0, BAND_EDGES)
    with pytest.raises(InputError, match="has 1 writers, too few"):
        holdout(pd.DataFrame({"Writer": ["a", "a"], "Age": [10.0, 10.0]}), 0.2, 0.2, 0, BAND_EDGES)


def test_the_inner_split_stays_inside_the_training_part():
    table = cohort(3)
    training = kfold(table, 4, 0, BAND_EDGES) != 1
    learn, choose = inner_split(table, training, 0.2, 0, BAND_EDGES)
    assert not (learn & choose).any()
    assert np.array_equal(learn | choose, training)
    assert not set(table["Writer"][learn]) & set(table["Writer"][choose])


def test_repeats_differ():
    first, second = repeated_kfold(cohort(4, 100), 3, 2, 0, BAND_EDGES)
    assert not np.array_equal(first, second)


def test_bands_count_completed_years():
    assert band_names(BAND_EDGES) == ["≤15", "16–25", "26–50", ">50"]
    assert band_index([8, 15, 15.9, 16, 25.5, 26, 50.9, 51], BAND_EDGES).tolist() == [0, 0, 0, 1, 1, 2, 2, 3]


def test_the_published_folds_are_read_from_their_column(shared_data):
    table = pd.read_csv(shared_data / "hhd" / "labels.csv").rename(columns={"WriterNumber": "Writer"})
    folds = folds_from_column(table, "PublishedFold")
    assert np.bincount(folds)[1:].tolist() == [127, 208, 181, 165, 201]
