"""The whole cluster as processes, with kill -9 for a worker and for the chief."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tuning.cluster.supervisor import free_port

SCRIPT = Path(__file__).parents[2] / "support" / "fake_search.py"
FLAGS = ("--folds", "3", "--race", "0")
BOUND = 500  # Seconds for a whole test, below pytest's 600: processes load TensorFlow, perhaps on a busy machine.


@pytest.fixture
def left():
    """Gives the seconds that are left of the test's."""
    until = time.monotonic() + BOUND
    return lambda: until - time.monotonic()


def start(run, *flags):
    environment = {**os.environ, "FAKE_PAUSE": "0.2", "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    root = str(SCRIPT.parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(SCRIPT), str(run), *FLAGS, *flags]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def wait_until(true, what, left):
    while not true():
        assert left() > 0, what
        time.sleep(0.2)


def has_stopped(beat, seconds=5):
    """Whether a worker's heart, which beats every second, stays as it is."""
    before = beat.read_text()
    time.sleep(seconds)
    return beat.read_text() == before


def records(run):
    return [json.loads(path.read_text()) for path in sorted(run.glob("trials/*.json"))]


@pytest.mark.slow
def test_a_killed_worker_is_started_again_and_no_fold_is_trained_twice(tmp_path, left):
    run = tmp_path / "run"
    supervisor = start(run, "--workers", "2", "--trials", "5", "--patience", "60")
    try:
        wait_until(
            lambda: any(r["worker"] == "worker0" and r["folds"] for r in records(run)), "worker0 never worked", left
        )
        os.kill(int((run / "workers" / "worker0.pid").read_text()), signal.SIGKILL)
        _, said = supervisor.communicate(timeout=left())
    finally:
        supervisor.kill()
    assert supervisor.returncode == 0
    # The chief, which sees no GPU, leaves the measurement to the supervisor.
    assert (run / "finished.txt").read_text() == str(supervisor.pid)
    assert "worker0 ended with code -9: started again under its name" in said
    assert [r["status"] for r in records(run)] == ["complete"] * 5
    folds = [line for line in (run / "log.txt").read_text().splitlines() if line.startswith("fold")]
    assert Counter(folds) == {f"fold {t} {f}": 1 for t in range(5) for f in (1, 2, 3)}


@pytest.mark.slow
def test_a_killed_chief_ends_its_worker_and_both_go_on_later(tmp_path, left):
    run, port = tmp_path / "run", free_port()
    flags = ("--trials", "3", "--chief", f"127.0.0.1:{port}", "--patience", "8")
    team = [start(run, "--role", "chief", *flags), start(run, "--role", "worker", "--worker-name", "one", *flags)]
    try:
        wait_until(lambda: any(r["folds"] for r in records(run)), "no fold was trained", left)
        team[0].kill()
        _, said = team[1].communicate(timeout=60)
        assert team[1].returncode == 3
        assert "has not answered for 8 seconds" in said
        team += [start(run, "--role", "chief", *flags), start(run, "--role", "worker", "--worker-name", "two", *flags)]
        codes = [process.wait(timeout=left()) for process in team[2:]]
    finally:
        for process in team:
            process.kill()
    assert codes == [0, 0]
    assert [r["status"] for r in records(run)] == ["complete"] * 3
    folds = [line for line in (run / "log.txt").read_text().splitlines() if line.startswith("fold")]
    assert max(Counter(folds).values()) == 1


@pytest.mark.slow
def test_a_killed_supervisor_takes_its_chief_and_workers_with_it(tmp_path, left):
    run = tmp_path / "run"
    flags = ("--workers", "1", "--trials", "2")
    supervisor = start(run, *flags)
    try:
        wait_until(lambda: any(r["folds"] for r in records(run)), "no fold was trained", left)
        supervisor.kill()
        # The pipe closes when the chief, which writes into it too, has ended.
        supervisor.communicate(timeout=30)
        wait_until(lambda: has_stopped(run / "workers" / "worker0.beat"), "the worker lives on", left)
        supervisor = start(run, *flags)
        supervisor.communicate(timeout=left())
    finally:
        supervisor.kill()
    assert supervisor.returncode == 0
    assert [r["status"] for r in records(run)] == ["complete"] * 2
    folds = [line for line in (run / "log.txt").read_text().splitlines() if line.startswith("fold")]
    assert max(Counter(folds).values()) == 1
