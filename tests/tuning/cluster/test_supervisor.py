"""The supervisor of `--workers`: what it does when its chief or its workers end. The processes are stubs."""

import sys
from pathlib import Path

import pytest

from tuning.cluster import supervisor
from tuning.cluster.roles import run_cluster
from tuning.search_config import ClusterConfig

SCRIPT = str(Path(__file__).parents[2] / "support" / "stub_team.py")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(supervisor, "TICK", 0.05)


def supervise(mode, folder, workers=2):
    command = [sys.executable, "-S", SCRIPT, mode, "--starts", str(folder / "starts")]
    return supervisor.supervise(ClusterConfig(workers=workers, patience=5), command, folder)


def test_the_chief_sees_no_gpu(tmp_path, monkeypatch):
    seen = {}

    class Ended(Exception):
        """Stands for all that would follow the start of the chief."""

    def start(command, env, **_):
        seen.update(env)
        raise Ended

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(supervisor.subprocess, "Popen", start)
    with pytest.raises(Ended):
        supervise("refused", tmp_path, workers=1)
    assert seen["CUDA_VISIBLE_DEVICES"] == "-1"


@pytest.mark.parametrize(("code", "ends"), [(0, 1), (2, 0)])
def test_the_measurement_follows_trials_that_ended_in_order(code, ends, tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(supervisor, "supervise", lambda *_: code)
    assert run_cluster(ClusterConfig(workers=1), [], tmp_path / "run", lambda: (None, lambda: ended.append(1))) == code
    assert len(ended) == ends


def test_workers_that_die_again_and_again_end_the_search(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(supervisor, "MOST_RESTARTS", 2)
    assert supervise("dies", tmp_path) == 1
    said = capfd.readouterr().err
    assert said.count("ended with code 7: started again") == 4
    log = (tmp_path / "workers" / "worker0.log").read_text()
    assert log.splitlines() == ["the first start", "a restart", "a restart"]
    assert "worker1 has died 3 times and is given up: see" in said
    assert f"All workers died: see {tmp_path / 'workers'}/*.log" in said


def test_a_worker_that_lost_a_living_chief_is_started_again(tmp_path, capfd):
    assert supervise("loses", tmp_path, workers=1) == 0
    assert "worker0 ended with code 3: started again" in capfd.readouterr().err


def test_a_chief_that_is_refused_starts_no_workers(tmp_path):
    assert supervise("refused", tmp_path) == 2
    assert not (tmp_path / "workers").exists()
