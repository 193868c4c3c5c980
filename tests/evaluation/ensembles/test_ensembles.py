"""Ensembles: the published tables to the last weight, exact optima, and nothing learnt from what is scored."""

import itertools
import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from age_keras.errors import InputError
from age_keras.evaluation.ensembles import methods as ensembles
from age_keras.evaluation.ensembles.run import add_ensemble
from age_keras.evaluation.ensembles.table import PUBLISHED_COLUMNS, match, published_rows
from age_keras.predictions.alignment import align
from age_keras.predictions.table import read_predictions


def models(seed, members=4, pages=40):
    """Predictions of models of different quality and bias, several pages a writer."""
    rng = np.random.default_rng(seed)
    writers = np.sort(rng.integers(0, max(2, pages // 3), pages))
    truth = rng.uniform(8, 60, pages)
    noise = rng.normal(0, 1, (members, pages)) * rng.uniform(1, 9, (members, 1))
    return truth + noise + rng.normal(0, 3, (members, 1)), truth, writers


cohorts = st.builds(models, st.integers(0, 10_000), st.integers(2, 7), st.integers(4, 60))


def error(ensemble, data):
    predictions, truth, _ = data
    return np.abs(ensemble.combine(predictions) - truth).mean()


@pytest.mark.parametrize("family", ["cnn", "vit"])
def test_published_tables(shared_data, family):
    """Every row, weight and figure of the study's table of ensembles."""
    folder = shared_data / "published"
    learn = align(read_predictions(folder / f"{family}_split_val.csv"))
    scored = match(learn, align(read_predictions(folder / f"{family}_split_test.csv")))
    want = pd.read_csv(folder / f"expected_{family}_split_ensembles.csv")
    for _, line in want.iterrows():
        weights = json.loads(line.Weights)
        rows = published_rows(learn, scored, [list(weights)])
        row = next(row for row in rows if row.title == line.Method)
        assert row.weight_map == pytest.approx(weights, abs=1e-9)
        assert round(row.val_mae, 2) == line.Val_MAE
        for metric, title in PUBLISHED_COLUMNS.items():
            assert round(row.scores[metric], 2) == line[title], (line["Ensemble Group"], title)


@given(cohorts)
@settings(max_examples=60, deadline=None)
def test_learnt_weights_are_never_worse_than_the_best_member_where_they_were_learnt(data):
    best = np.abs(data[0] - data[1]).mean(axis=1).min()
    for fit in (ensembles.least_absolute_deviation, ensembles.greedy, ensembles.best_single):
        ensemble = fit(*data)
        assert error(ensemble, data) <= best + 1e-7, fit.__name__
        assert ensemble.weights.sum() == pytest.approx(1)
        assert (ensemble.weights >= 0).all()


@given(cohorts)
@settings(max_examples=30, deadline=None)
def test_least_absolute_deviation_is_exact(data):
    """No grid and no other weights do better."""
    exact = error(ensembles.least_absolute_deviation(*data), data)
    assert exact <= error(ensembles.grid_search(*data), data) + 1e-7
    draws = np.random.default_rng(0).dirichlet(np.ones(len(data[0])), 500)
    assert exact <= np.abs(draws @ data[0] - data[1]).mean(axis=1).min() + 1e-7


@given(st.builds(models, st.integers(0, 10_000), st.integers(2, 4)), st.sampled_from([0.1, 0.2, 0.25]))
@settings(max_examples=30, deadline=None)
def test_grid_search_equals_nested_loops(data, step):
    predictions, truth, _ = data
    parts = round(1 / step)
    if len(predictions) > parts:
        return
    grid = [
        np.array(point) / parts
        for point in itertools.product(range(1, parts + 1), repeat=len(predictions))
        if sum(point) == parts
    ]
    errors = [np.abs(w @ predictions - truth).mean() for w in grid]
    got = ensembles.grid_search(*data, step=step)
    assert error(got, data) == pytest.approx(min(errors))
    assert any(np.allclose(got.weights, w) for w in grid)
    assert got.weights.min() >= step - 1e-12


def test_many_members_are_instant():
    data = models(0, members=10, pages=882)
    start = time.process_time()
    grid = ensembles.grid_search(*data)
    assert grid.weights.tolist() == pytest.approx([0.1] * 10)
    ensembles.grid_search(*models(1, members=6, pages=882), step=0.05)
    ensembles.least_absolute_deviation(*models(2, members=40, pages=882))
    assert time.process_time() - start < 5


def test_a_grid_that_cannot_be_searched_is_refused():
    with pytest.raises(InputError, match="11 members"):
        ensembles.grid_search(*models(0, members=11))
    with pytest.raises(InputError, match="lad"):
        ensembles.grid_search(*models(0, members=9), step=0.01)


def test_mae_based_weights_by_their_formula():
    predictions, truth, writers = models(3, members=3)
    m = np.abs(predictions - truth).mean(axis=1)
    want = [(m.sum() - one) / (2 * m.sum()) for one in m]
    np.testing.assert_allclose(ensembles.mae_based(predictions, truth, writers).weights, want)


@given(cohorts)
@settings(max_examples=20, deadline=None)
def test_every_method_answers_for_new_pages(data):
    new = data[0][:, ::-1][:, :3]
    for name, fit in ensembles.METHODS.items():
        answer = fit(*data).combine(new)
        assert answer.shape == (min(3, new.shape[1]),), name
        assert np.isfinite(answer).all(), name


def test_inner_folds_keep_writers_together_and_balance_pages():
    writers = np.repeat(np.arange(30), np.r_[40, np.ones(29, int)])
    folds = ensembles.inner_folds(writers)
    assert all(len(np.unique(folds[writers == w])) == 1 for w in range(30))
    assert len(np.unique(folds)) == 5


@pytest.fixture
def run_rows():
    frames = []
    for split, seed in (("val", 1), ("test", 2)):
        predictions, truth, writers = models(seed, 3, 60)
        pages = {"ImageID": [f"{split}{i}" for i in range(60)], "TrueAge": truth, "Fold": 0, "Split": split}
        pages["Writer"] = [f"{split}{w}" for w in writers]
        frames += [
            pd.DataFrame({**pages, "Model": m, "Prediction": row}) for m, row in zip("abc", predictions, strict=True)
        ]
    return pd.concat(frames, ignore_index=True)


def test_a_runs_ensemble_stands_beside_its_members(run_rows):
    got, notes = add_ensemble(run_rows)
    name = next(model for model in got.Model.unique() if model.startswith("ensemble ("))
    rows = got[got.Model == name]
    assert (rows.Split == "test").sum() == 60
    assert (rows.Split == "val").sum() == 60
    assert rows[rows.Split == "test"].Lower.notna().all()
    assert name.removeprefix("ensemble (").rstrip(")") in notes[0]
    assert "Grid Search" in notes[1]
    pd.testing.assert_frame_equal(got[got.Model != name][run_rows.columns], run_rows)


def test_a_runs_ensemble_needs_several_models_and_validation(run_rows):
    with pytest.raises(InputError, match="two models"):
        add_ensemble(run_rows[run_rows.Model == "a"])
    with pytest.raises(InputError, match="`val`"):
        add_ensemble(run_rows[run_rows.Split == "test"])
