"""Intervals: the promised coverage of new writers, by every method; and what is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from age_keras.conformal import methods as interval_methods
from age_keras.conformal.intervals import add_intervals, can_calibrate
from age_keras.conformal.methods import Pages, cross_plus, merged_bands
from age_keras.conformal.quantile import hierarchical_quantile, shares, writers_needed
from age_keras.errors import InputError
from age_keras.evaluation.intervals.table import coverage_rows, warning, wilson
from age_keras.predictions.alignment import align
from age_keras.predictions.table import read_predictions


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
    return Pages(said, who, truth, said - spread, said + spread, fold)


def one_page_each(pages):
    return pages.rows(np.unique(pages.writers, return_index=True)[1])


@pytest.mark.parametrize("method", ["split", "mondrian", "quantile"])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_covers_new_writers_as_often_as_it_says(method, coverage):
    """Over many cohorts, one page of each new writer: within binomial bounds of what is promised."""
    rng, trials, new = np.random.default_rng(1), 150, 20
    bound, hits = getattr(interval_methods, method), []
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
        lower, upper = interval_methods.mondrian(cohort(rng, 300), fresh, 0.8)
        band = interval_methods.band_index(fresh.prediction)
        for b, seen in hits.items():
            seen.extend(((lower <= fresh.truth) & (fresh.truth <= upper))[band == b])
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
    weight = shares(writers)
    for row, got in zip(scores, hierarchical_quantile(scores, writers, level), strict=True):
        holding = [s for s in row if weight[row <= s].sum() >= level - 1e-9]
        assert got == (min(holding) if holding else np.inf)


def test_too_few_writers_promise_nothing_narrow():
    rng = np.random.default_rng(3)
    lower, upper = interval_methods.split(cohort(rng, 8), cohort(rng, 3), 0.9)
    assert (lower == 0).all()
    assert (upper == 120).all()
    assert writers_needed(0.9) == 9
    assert (interval_methods.split(cohort(rng, 9), cohort(rng, 3), 0.9)[1] < 120).any()


def test_bands_with_few_writers_join_their_younger_neighbour():
    pages = Pages(np.r_[np.full(40, 12.0), np.full(30, 20.0), 30.0, 60.0], np.arange(72), np.zeros(72))
    assert merged_bands(pages, 0.9).tolist() == [0, 1, 1, 1]
    few_young = Pages(np.r_[12.0, np.full(40, 20.0), np.full(40, 30.0)], np.arange(81), np.zeros(81))
    assert merged_bands(few_young, 0.9).tolist() == [0, 0, 2, 2]


def test_cv_plus_covers_and_equals_its_definition():
    rng = np.random.default_rng(4)
    old = cohort(rng, 40, folds=4)
    votes = rng.uniform(10, 40, (4, 5))
    lower, upper = cross_plus(old, votes, np.arange(1, 5), 0.9)
    errors, weight = np.abs(old.truth - old.prediction), shares(old.writers)
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
    lower, upper = interval_methods.quantile(wide, new, 0.8)
    assert lower[0] <= 30 <= upper[0]


@pytest.fixture
def run_rows():
    """Predictions of a run: two folds, each with its own rows of val."""
    rng, frames = np.random.default_rng(6), []
    for fold in (1, 2):
        for split in ("val", "oof"):
            pages = cohort(rng, 60)
            name = [f"{split}{fold}-{w}" for w in pages.writers]
            frames.append(
                pd.DataFrame(
                    {
                        "ImageID": [f"{n}-{i}" for i, n in enumerate(name)],
                        "TrueAge": pages.truth,
                        "Prediction": pages.prediction,
                        "Model": "net",
                        "Fold": fold,
                        "Writer": name,
                        "Split": split,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def test_a_run_is_calibrated_fold_by_fold(run_rows):
    got = add_intervals(run_rows)
    assert got.Lower[got.Split == "val"].isna().all()
    scored = got[got.Split == "oof"]
    assert scored.Lower.notna().all()
    assert can_calibrate(got)
    for fold in (1, 2):
        held_out = run_rows[(run_rows.Fold == fold) & (run_rows.Split == "val")]
        errors = np.abs(held_out.TrueAge - held_out.Prediction).to_numpy()
        reach = hierarchical_quantile(errors, held_out.Writer.to_numpy(str), 0.9)
        rows = scored[scored.Fold == fold]
        np.testing.assert_allclose(rows.Upper, rows.Prediction + reach)
    pd.testing.assert_frame_equal(add_intervals(got), got)


def test_without_val_the_other_folds_calibrate(run_rows):
    got = add_intervals(run_rows[run_rows.Split == "oof"])
    assert got.Lower.notna().all()
    first, second = ((got.Upper - got.Prediction)[got.Fold == f] for f in (1, 2))
    assert np.ptp(first) < 1e-9
    assert abs(first.iloc[0] - second.iloc[0]) > 1e-3


def test_nothing_to_calibrate_with_gives_no_bounds(run_rows):
    got = add_intervals(run_rows[(run_rows.Split == "oof") & (run_rows.Fold == 1)].assign(Split="test"))
    assert got.Lower.isna().all()


def test_a_quantile_heads_bounds_are_kept_and_moved(run_rows):
    raw = run_rows.assign(Lower=run_rows.Prediction - 1, Upper=run_rows.Prediction + 2)
    got = add_intervals(raw)
    np.testing.assert_array_equal(got.LowerQuantile, raw.Lower)
    scored = got[got.Split == "oof"]
    assert ((scored.Lower < scored.LowerQuantile) | (scored.Lower == 0)).all()
    pd.testing.assert_frame_equal(add_intervals(got), got)
    assert "LowerQuantile" not in align(got[got.Split == "oof"]).pages


def test_cqr_without_a_quantile_head_is_refused(run_rows):
    with pytest.raises(InputError, match="quantile head"):
        add_intervals(run_rows, method="cqr")
    with pytest.raises(InputError, match="between 0 and 1"):
        add_intervals(run_rows, coverage=90)


def test_published_predictions_cover_writers_as_promised(shared_data):
    frame = add_intervals(read_predictions(shared_data / "published/cnn_cv_oof.csv"))
    table = align(frame)
    for model in range(5):
        row = coverage_rows(table, model)[0]
        assert 89 < row["writer_coverage"] < 91
        assert row["page_coverage"] < 86  # One writer has 40 pages.


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (17, 20), (20, 20), (450, 500)])
def test_wilsons_interval_by_its_definition(hits, n):
    """Its ends are the shares whose own normal interval just reaches the one seen."""
    low, high = wilson(hits / n, n)
    for end in (low, high):
        if 0 < end < 1:
            assert abs(hits / n - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / n), rel=1e-3)
    assert low <= hits / n <= high
    assert high - low > 0.02


def test_intervals_that_say_nothing_are_named(run_rows):
    few = run_rows[(run_rows.Split == "oof") | run_rows.Writer.isin(run_rows[run_rows.Split == "val"].Writer[:3])]
    bounded = add_intervals(few)
    table = align(bounded[bounded.Split == "oof"])
    assert "0 to 120 years" in warning(table)
    full = add_intervals(run_rows)
    assert warning(align(full[full.Split == "oof"])) == ""
