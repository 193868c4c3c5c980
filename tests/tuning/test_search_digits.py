"""The recogniser's search as a command: trials, the measurement, the report; again it trains nothing."""

import json

import pandas as pd
import pytest

from tuning.report import main as report
from tuning.search_digits import main

FLAGS = [
    *("--limit", "240", "--model.stem", "8", "--model.units", "16", "--model.heads", "1", "--model.no-bidirectional"),
    *("--training.epochs", "1", "--training.batch-size", "32", "--folds", "2", "--trials", "2", "--run", "tiny"),
]


@pytest.mark.slow
def test_the_command_searches_measures_and_reports(tmp_path, capsys):
    flags = [*FLAGS, "--runs", str(tmp_path)]
    assert main(flags) == 0
    run = tmp_path / "search_digits" / "tiny"
    said = capsys.readouterr().out
    assert "wrong against" in said
    assert "on characters that no trial saw" in said
    outer = pd.read_csv(run / "outer.csv")
    assert {"Truth", "chosen", "default"} <= set(outer)
    assert len(pd.read_csv(run / "trials.csv")) == 2
    assert json.loads((run / "chosen.json").read_text())["trial"] in ("0", "1")
    kept = {path: path.stat().st_mtime for path in run.glob("trials/*.json")}
    assert main(flags) == 0  # All is there already.
    assert kept == {path: path.stat().st_mtime for path in run.glob("trials/*.json")}
    assert report([str(run)]) == 0
    assert "val_mae" not in (run / "report.md").read_text()


def test_bad_flags_are_refused(tmp_path, capsys):
    assert main(["--folds", "1", "--runs", str(tmp_path)]) == 2
    assert "`folds` must be a whole number of at least 2" in capsys.readouterr().err
    assert main(["--data", "nothing", "--runs", str(tmp_path)]) == 2
