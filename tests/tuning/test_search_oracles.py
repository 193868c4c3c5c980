"""Every oracle goes on, after any kill, with the very trials that an uninterrupted search would have run."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from fake_search import FakeHyperModel, Killed, run

from age_keras.errors import InputError
from tuning import tuner
from tuning.search_config import SearchConfig
from tuning.tuner import StoppedSearchError, run_trials

ORACLES = ("random", "grid", "hyperband", "bayesian")


@pytest.fixture(autouse=True)
def _in_bounded_time(monkeypatch):
    """An oracle that has nothing to do and never ends would otherwise hang the test."""

    def fail(seconds):
        raise AssertionError("the oracle is idle with a single worker")

    monkeypatch.setattr(tuner.time, "sleep", fail)


def config(oracle, **changes):
    trials = 4 if oracle == "bayesian" else 9  # Three at random, then one of the Gaussian process, which is slow.
    return SearchConfig(**{"oracle": oracle, "trials": trials, "folds": 3, "race": 0.0, "keep": 2, **changes})


def killed_at(number):
    """Kills at the number-th epoch that is begun."""
    begun = Counter()

    def misfortune(hp, fold, epoch):
        begun["epochs"] += 1
        if begun["epochs"] == number:
            raise Killed

    return misfortune


def results(trials):
    return [(r.trial, r.values, r.status, r.objective) for r in trials.all()]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What each oracle does when left alone."""
    return {o: results(run(tmp_path_factory.mktemp(o), config(o))) for o in ORACLES}


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_search_killed_again_and_again_ends_as_if_it_had_not_been(oracle, tmp_path, uninterrupted):
    kills = 0
    while True:
        try:
            trials = run(tmp_path, config(oracle), killed_at(5))
            break
        except Killed:
            kills += 1
    assert kills > 3
    assert results(trials) == uninterrupted[oracle]
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert max(Counter(lines).values()) == 1  # No epoch was trained twice.


@pytest.mark.parametrize("oracle", ORACLES)
def test_a_kill_between_the_record_and_the_oracle_loses_nothing(oracle, tmp_path, monkeypatch, uninterrupted):
    from tuning import oracles

    saves = Counter()
    write = oracles.write_json

    def write_or_die(path, value):
        saves["all"] += 1
        if saves["all"] % 3 == 0:
            saves["kills"] += 1
            raise Killed
        write(path, value)

    monkeypatch.setattr(oracles, "write_json", write_or_die)
    while True:
        try:
            trials = run(tmp_path, config(oracle))
            break
        except Killed:
            continue
    assert saves["kills"] > 3
    assert results(trials) == uninterrupted[oracle]
    assert max(Counter((tmp_path / "log.txt").read_text().splitlines()).values()) == 1


@pytest.mark.parametrize("oracle", ORACLES)
def test_what_an_oracle_says_of_the_next_trials_comes_true(oracle, tmp_path, uninterrupted):
    said = {}
    settings = config(oracle)
    hypermodel = FakeHyperModel(tmp_path, settings)
    fit = hypermodel.fit

    def fit_and_listen(hp, trial_id):
        said[int(trial_id)] = [each.values for each in hypermodel.ahead(3)]
        return fit(hp, trial_id=trial_id)

    hypermodel.fit = fit_and_listen
    run_trials(tmp_path, settings, hypermodel, progress=False)
    assert results(hypermodel.trials) == uninterrupted[oracle]  # To look ahead changes nothing.
    came = {int(r.trial): r.values for r in hypermodel.trials.all()}
    assert said[0]
    for number, values in said.items():
        for place, foretold in enumerate(values, start=number + 1):
            assert came[place] == foretold


def test_the_grid_is_tried_whole_and_once(tmp_path):
    trials = run(tmp_path, config("grid", trials=0))
    assert len(trials.all()) == 15 == len({json.dumps(r.values, sort_keys=True) for r in trials.all()})


def test_hyperband_goes_on_from_the_folds_of_the_round_before(tmp_path):
    trials = run(tmp_path, config("hyperband", folds=4, trials=0))
    promoted = [r for r in trials.all() if r.values["tuner/round"]]
    assert promoted
    for record in promoted:
        assert [fold["fold"] for fold in record.folds] == list(range(1, record.wanted + 1))
        assert record.folds[0]["reused"] < record.trial
        assert "reused" not in record.folds[-1]
    assert all(len(record.folds) == 4 for record in trials.ranked())


def test_too_few_trials_for_hyperband_are_refused(tmp_path):
    with pytest.raises(InputError, match="on 5 folds needs at least 10 trials"):
        run(tmp_path, config("hyperband", trials=9, folds=5))
    trials = run(tmp_path, config("hyperband", trials=10, folds=5))
    assert len(trials.ranked()) == 1


def test_a_search_can_be_made_longer(tmp_path):
    run(tmp_path, config("random", trials=4))
    trials = run(tmp_path, config("random", trials=7))
    assert len(trials.all()) == 7
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 7 * 3 * 4


def test_failing_trials_are_recorded_and_the_search_goes_on(tmp_path):
    def misfortune(hp, fold, epoch):
        if hp.values["c"] == "a" and fold == 2:
            raise MemoryError("no 3 GB left")

    trials = run(tmp_path, config("grid", trials=0), misfortune)
    failed = [r for r in trials.all() if r.status == "failed"]
    # Grid search varies `c` fastest: no three in a row fail.
    assert len(failed) == 5
    assert {r.reason for r in failed} == {"memory: no 3 GB left"}
    assert all(len(r.folds) == 1 for r in failed)
    assert len(trials.ranked()) == 10


def test_three_like_failures_in_a_row_stop_the_search_with_the_cause(tmp_path):
    def misfortune(hp, fold, epoch):
        raise RuntimeError(f"device {id(hp)} is gone")

    with pytest.raises(StoppedSearchError, match=r"RuntimeError: device .* is gone"):
        run(tmp_path, config("random"), misfortune)
    hypermodel = FakeHyperModel(tmp_path, config("random"))
    assert [r.status for r in hypermodel.trials.all()] == ["failed"] * 3
    # With the cause mended, the same command goes on.
    trials = run(tmp_path, config("random"))
    assert Counter(r.status for r in trials.all()) == {"failed": 3, "complete": 6}


def test_failures_of_different_causes_do_not_stop_it(tmp_path):
    causes = iter([MemoryError("a"), ValueError("b"), OSError("c")] * 3)

    def misfortune(hp, fold, epoch):
        raise next(causes)

    assert len(run(tmp_path, config("random"), misfortune).all()) == 9


def test_only_the_best_models_stay(tmp_path):
    trials = run(tmp_path, config("random", keep=2))
    kept = {path.parent.name for path in (tmp_path / "trials").glob("*/*.keras")}
    assert kept == {record.trial for record in trials.ranked()[:2]}


def test_the_best_of_hyperband_has_the_models_of_all_its_folds(tmp_path):
    trials = run(tmp_path, config("hyperband", trials=13, folds=5, keep=1))
    best = trials.ranked()[0]
    assert best.folds[0]["reused"]
    kept = {path.relative_to(trials.folder).as_posix() for path in trials.folder.glob("*/*")}
    assert kept == {f"{best.trial}/fold{fold}.keras" for fold in range(1, 6)}


def test_a_trial_that_ends_while_models_are_deleted_keeps_its_own(tmp_path, monkeypatch):
    trials = run(tmp_path, config("random", trials=2, keep=1))
    ranked = trials.ranked

    def and_a_better_one_ends(*records):
        found = ranked(*records)
        trials.write(replace(trials.all()[0], trial="9", folds=[{"fold": f, "mae": 0.1} for f in (1, 2, 3)]))
        (trials.folder_of("9") / "fold1.keras").write_bytes(b"0")
        return found

    monkeypatch.setattr(trials, "ranked", and_a_better_one_ends)
    trials.keep_best(1)
    assert (trials.folder / "9" / "fold1.keras").exists()


def test_bad_trials_are_cut_early_and_the_best_is_the_same(tmp_path, uninterrupted):
    trials = run(tmp_path, config("random", race=1.0))
    cut = [r for r in trials.all() if r.status == "cut"]
    assert cut
    assert all(len(r.folds) < 3 and r.objective > trials.ranked()[0].objective for r in cut)
    best = min((row for row in uninterrupted["random"]), key=lambda row: row[3])
    assert trials.ranked()[0].values == best[1]
