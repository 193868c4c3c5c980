"""What a trial's record makes of the deaths of its process."""

import contextlib
from collections import Counter

import pytest
from fake_search import Killed, run

from tuning.objective import OBJECTIVES
from tuning.search_config import SearchConfig
from tuning.trials import Trials


def config(oracle, trials):
    return SearchConfig(oracle=oracle, trials=trials, folds=3, race=0.0)


def test_a_trial_that_kills_its_process_each_time_is_given_up(tmp_path):
    def misfortune(hp, fold, epoch):
        if hp.values["x"] == 0.5 and epoch == 1:
            raise Killed

    for number in range(7):
        with contextlib.suppress(Killed):
            trials = run(tmp_path, config("grid", 2), misfortune, restarted=number > 0)
    assert [r.cause for r in trials.all()] == ["killed"] * 2
    assert "died 3 times at fold 1, epoch 1" in trials.all()[0].reason


def test_a_trial_that_kills_one_worker_after_the_other_is_given_up(tmp_path):
    trials = Trials(tmp_path / "trials", OBJECTIVES["mae"], 3)

    def misfortune(hp, fold, epoch):
        if epoch == 1:
            raise Killed

    for _ in range(3):
        with pytest.raises(Killed):
            run(tmp_path, config("random", 1), misfortune)
        (record,) = trials.all()
        trials.mark_lost(record.trial)  # As the chief does.
    run(tmp_path, config("random", 1), misfortune)
    assert "died 3 times at fold 1, epoch 1" in trials.all()[0].reason
    trials.mark_lost(record.trial)
    assert trials.all()[0].worker == "tuner0"  # It has ended: nothing is lost.


def test_a_search_that_was_stopped_and_started_again_counts_no_deaths(tmp_path):
    kills = iter([True] * 5)

    def misfortune(hp, fold, epoch):
        if next(kills, False):
            raise Killed

    for _ in range(5):
        with pytest.raises(Killed):
            run(tmp_path, config("random", 1), misfortune)
    trials = run(tmp_path, config("random", 1), misfortune)
    assert [r.status for r in trials.all()] == ["complete"]


def test_a_kill_before_a_fold_is_recorded_trains_no_epoch_again(tmp_path, monkeypatch):
    write = Trials.write

    def write_or_die(self, record):
        if record.folds:
            raise Killed
        write(self, record)

    monkeypatch.setattr(Trials, "write", write_or_die)
    with pytest.raises(Killed):
        run(tmp_path, config("random", 1))
    monkeypatch.setattr(Trials, "write", write)
    run(tmp_path, config("random", 1))
    epochs = [line for line in (tmp_path / "log.txt").read_text().splitlines() if line.startswith("epoch")]
    assert max(Counter(epochs).values()) == 1
    assert not list(tmp_path.glob("trials/*/*.npz"))
