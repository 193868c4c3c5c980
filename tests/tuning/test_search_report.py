"""The report of a search: what was chosen, how optimistic the search was, the pictures, the table."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fake_search import FakeHyperModel

from age_keras.errors import InputError
from age_keras.run.folder import Run
from tuning.importance import importances
from tuning.report import main, write_search_report
from tuning.search import finish
from tuning.search_config import SearchConfig
from tuning.search_digits import _finish as finish_digits
from tuning.tuner import StoppedSearchError, run_trials, with_verdict


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of twelve trials, one of which fails."""
    folder = tmp_path_factory.mktemp("search")
    config = SearchConfig(oracle="grid", trials=12, folds=3)

    def misfortune(hp, fold, epoch):
        if hp.values["x"] == 0.0 and hp.values["c"] == "b":
            raise MemoryError("no 3 GB left")

    run_trials(folder, config, FakeHyperModel(folder, config, misfortune=misfortune), progress=False)
    write_facts(folder, "grid")
    return folder


def write_facts(folder, oracle):
    """What the report reads of a search's configuration."""
    facts = {"space": "basic", "oracle": oracle, "objective": "mae", "folds": 3, "race": 1.0, "seed": 0}
    (folder / "config.json").write_text(json.dumps({**facts, "bands": [15, 25, 50]}))


def test_before_the_outer_measurement_it_says_so(searched):
    text = write_search_report(searched, board=False).read_text()
    assert text.startswith("# The search has not finished")
    assert "memory: no 3 GB left" in text
    table = pd.read_csv(searched / "trials.csv")
    assert len(table) == 12
    assert {"x", "c", "fold1", "fold3", "rank", "status"} <= set(table)
    assert table["rank"].dropna().tolist() == sorted(table["rank"].dropna())


@pytest.mark.parametrize(("gain", "verdict"), [(2.0, "beats the default"), (-2.0, "does not beat the default")])
def test_the_first_line_says_whether_the_choice_beats_the_default(searched, gain, verdict):
    rng = np.random.default_rng(0)
    truth = rng.uniform(8, 60, 40)
    rows = pd.DataFrame({"ImageID": range(40), "Writer": [f"w{i // 2}" for i in range(40)], "TrueAge": truth})
    rows["chosen"], rows["default"] = truth + 3, truth + 3 + gain
    rows.to_csv(searched / "outer.csv", index=False)
    best = min(searched.glob("trials/*.json"), key=lambda p: json.loads(p.read_text())["objective"] or 99)
    (searched / "outer.json").write_text(json.dumps({"trial": best.stem, "constant": 20.0}))
    text = write_search_report(searched, board=False).read_text()
    assert verdict in text.splitlines()[0]
    assert "writers that no trial saw" in text.splitlines()[0]
    assert "How optimistic the search was" in text
    for name in ("parallel_coordinates", "importance", "progress"):
        assert (searched / "figures" / f"{name}.png").stat().st_size > 5000
    (searched / "outer.csv").unlink()


def test_the_command_says_what_is_wrong_with_a_folder(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "config.json" in capsys.readouterr().err
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not the folder of a search"):
        write_search_report(tmp_path)


def test_hyperband_has_a_report_before_its_first_whole_trial(tmp_path):
    config = SearchConfig(oracle="hyperband", trials=9, folds=3)

    def misfortune(hp, fold, epoch):
        if fold == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trials(tmp_path, config, FakeHyperModel(tmp_path, config, misfortune=misfortune), progress=False)
    write_facts(tmp_path, "hyperband")
    text = write_search_report(tmp_path, board=False).read_text()
    assert text.startswith("# No trial has run all of its folds yet")
    assert "4 trials: 3 complete, 1 running" in text


def test_a_search_without_a_whole_trial_leaves_its_table_and_report(tmp_path):
    config = SearchConfig(trials=2, folds=3, race=0.0)

    def misfortune(hp, fold, epoch):
        if fold == 3:
            raise MemoryError("no 3 GB left")

    run_trials(tmp_path, config, FakeHyperModel(tmp_path, config, misfortune=misfortune), progress=False)
    write_facts(tmp_path, "random")
    with pytest.raises(InputError, match="nothing to choose"):
        finish(config, SimpleNamespace(run=Run(tmp_path)), None)
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 2
    assert "memory: no 3 GB left" in (tmp_path / "report.md").read_text()


def test_a_stopped_search_leaves_its_table_and_report(tmp_path):
    config = SearchConfig(trials=9, folds=3, race=0.0)
    ended = []

    def misfortune(hp, fold, epoch):
        ended.append(epoch)
        if len(ended) > 9:  # The first trial is whole.
            raise MemoryError("no 3 GB left")

    def trials():
        run_trials(tmp_path, config, FakeHyperModel(tmp_path, config, misfortune=misfortune), progress=False)

    write_facts(tmp_path, "random")
    with pytest.raises(InputError, match="The search stopped because three trials"):
        with_verdict(tmp_path, trials, lambda: None)
    assert len(pd.read_csv(tmp_path / "trials.csv")) == 4
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# The search has stopped")
    assert "failed with the same cause: memory: no 3 GB left" in text


def test_importance_finds_what_matters():
    rng = np.random.default_rng(1)
    trials = [{"rate": float(10 ** rng.uniform(-5, -1)), "noise": float(rng.uniform()), "one": 1} for _ in range(40)]
    found = importances(trials, [np.log10(t["rate"]) + 0.1 * t["noise"] for t in trials])
    assert found["parameter"].tolist() == ["rate", "noise"]
    assert found["fraction"][0] > 0.7
    assert importances(trials[:3], [1.0, 2.0, 3.0]) is None


def test_a_report_that_cannot_be_written_hides_no_reason(tmp_path, monkeypatch, caplog):
    def full(run):
        raise OSError("No space left\non device")

    def trials():
        raise StoppedSearchError("the disk is full")

    monkeypatch.setattr("tuning.report.write_search_report", full)
    with pytest.raises(InputError, match="same cause: the disk is full"):
        with_verdict(tmp_path, trials, lambda: None)
    nothing = SimpleNamespace(ranked=list)
    with pytest.raises(InputError, match="nothing to choose"):
        finish_digits(None, SimpleNamespace(path=tmp_path), {}, SimpleNamespace(trials=nothing))
    study = SimpleNamespace(run=SimpleNamespace(path=tmp_path))
    with pytest.raises(InputError, match="nothing to choose"):
        finish(SearchConfig(), study, None)
    said = f"The report in {tmp_path} cannot be written: OSError: No space left on device"
    assert caplog.messages == [said] * 3
