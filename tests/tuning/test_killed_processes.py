"""kill -9, the real one, in the middle of a trial, again and again, for every oracle."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fake_search import FakeHyperModel

from tuning.search_config import SearchConfig
from tuning.tuner import run_trials

SCRIPT = Path(__file__).parents[1] / "support" / "fake_search.py"
BOUND = 200  # Seconds for one process, which loads TensorFlow on a busy machine.


def killed_at_epoch(run, number, *flags):
    """Runs a search in a process that kills itself with SIGKILL when it begins its n-th epoch; its exit code."""
    environment = {**os.environ, "FAKE_KILL": str(number), "CUDA_VISIBLE_DEVICES": "-1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPT.parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run([sys.executable, str(SCRIPT), str(run), *flags], env=environment, timeout=BOUND).returncode


@pytest.mark.slow
@pytest.mark.parametrize("oracle", ["random", "grid", "hyperband", "bayesian"])
def test_a_killed_process_goes_on_with_the_same_trials(oracle, tmp_path):
    trials, run = 4 if oracle == "bayesian" else 5, tmp_path / "killed"
    flags = ("--oracle", oracle, "--trials", str(trials), "--folds", "3", "--race", "0")
    codes = [killed_at_epoch(run, number, *flags) for number in (8, 11, -1)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    lines = (run / "log.txt").read_text().splitlines()
    assert max(Counter(lines).values()) == 1  # No epoch was trained twice.
    config = SearchConfig(oracle=oracle, trials=trials, folds=3, race=0.0)
    alone = tmp_path / "alone"
    alone.mkdir()
    hypermodel = FakeHyperModel(alone, config)
    run_trials(alone, config, hypermodel, progress=False)
    assert lines == (alone / "log.txt").read_text().splitlines()
    killed = FakeHyperModel(run, config).trials
    assert [(r.trial, r.values, r.objective) for r in killed.all()] == [
        (r.trial, r.values, r.objective) for r in hypermodel.trials.all()
    ]
