"""Chief and workers: lost workers, lost chiefs, allotments of the machine. On loopback, in bounded time."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from fake_search import FakeHyperModel

from age_keras.errors import InputError
from age_keras.training.distributed.devices import allotment
from tuning.cluster.chief import serve
from tuning.cluster.liveness import Heartbeat, Heartbeats
from tuning.cluster.roles import run_cluster
from tuning.cluster.supervisor import free_port, without_workers
from tuning.search_config import ClusterConfig
from tuning.trials import LOST, TrialRecord
from tuning.tuner import oracle_of


@pytest.fixture
def _clean(monkeypatch):
    """Keras Tuner's variables do not reach other tests."""
    for name in ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)


def config(port, **changes):
    given = {"role": "worker", "chief": f"127.0.0.1:{port}", "patience": 3.0, "trials": 4, "folds": 2, "race": 0.0}
    return ClusterConfig(**{**given, **changes})


def fakes(folder, settings):
    """What a worker of some name runs."""
    return lambda name: (folder, FakeHyperModel(folder, settings.search, name))


@pytest.mark.usefixtures("_clean")
def test_a_lost_workers_trial_goes_to_the_next_and_all_ends_in_order(tmp_path, capsys):
    settings = config(free_port(), worker_name="second")
    hypermodel = FakeHyperModel(tmp_path, settings.search)
    oracle = oracle_of(tmp_path, settings.search, hypermodel)
    # The first worker takes a trial, and is never heard of again.
    lost = oracle.create_trial("first").trial_id
    chief = threading.Thread(
        target=serve, args=(oracle, hypermodel.trials, settings.address, tmp_path / "workers", 3.0)
    )
    chief.start()
    code = run_cluster(settings, [], tmp_path, lambda: (fakes(tmp_path, settings), None))
    chief.join(timeout=30)
    assert code == 0
    assert not chief.is_alive()
    records = hypermodel.trials.all()
    assert [r.status for r in records] == ["complete"] * 4
    assert lost in {r.trial for r in records}
    assert {r.worker for r in records} == {"second"}
    assert "Worker first stopped responding" in capsys.readouterr().err
    assert max(Counter((tmp_path / "log.txt").read_text().splitlines()).values()) == 1


def test_only_a_worker_killed_in_the_chiefs_time_is_recorded_as_lost(tmp_path):
    settings, workers = config(free_port()), tmp_path / "workers"
    hypermodel = FakeHyperModel(tmp_path, settings.search)
    oracle, trials = oracle_of(tmp_path, settings.search, hypermodel), hypermodel.trials
    names = {name: oracle.create_trial(name).trial_id for name in ("killed", "ended", "before")}
    for name, trial in names.items():
        trials.write(TrialRecord(trial, {}, worker=name))
    workers.mkdir()
    (workers / "before.beat").write_text("1 1")  # It was stopped, with the chief of its time.
    (workers / "ended").write_text("in order")
    chief = threading.Thread(target=serve, args=(oracle, trials, settings.address, workers, 2.0))
    chief.start()
    until = time.monotonic() + 30
    while (workers / "ended").exists() or (workers / "before.beat").exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    (workers / "killed.beat").write_text("2 1")
    with Heartbeat(workers, "ended"):
        time.sleep(1.5)
    while oracle.ongoing_trials:
        assert time.monotonic() < until
        time.sleep(0.05)
    oracle.stopped_because = "the test is over"
    chief.join(timeout=30)
    assert not chief.is_alive()
    assert {name: trials.read(trial).worker for name, trial in names.items()} == {
        "killed": LOST,
        "ended": "ended",
        "before": "before",
    }


@pytest.mark.usefixtures("_clean")
def test_a_worker_without_a_chief_says_so_and_stops(tmp_path, capsys):
    settings = config(free_port(), patience=2.0, worker_name="lonely")
    begin = time.monotonic()
    code = run_cluster(settings, [], tmp_path, lambda: (fakes(tmp_path, settings), None))
    assert code == 3
    assert time.monotonic() - begin < 30
    assert f"the chief at {settings.chief} has not answered for 2 seconds" in capsys.readouterr().err


DEAF = """
import signal, time
from tuning.cluster.liveness import ChiefWatch
signal.signal(signal.SIGINT, {handler})
with ChiefWatch("127.0.0.1", {port}, 1.0, "the chief is lost"):
    time.sleep(60)
"""


@pytest.mark.parametrize("handler", ["signal.SIG_IGN", "lambda *_: time.sleep(60)"])
def test_a_worker_that_does_not_hear_the_interrupt_is_ended(handler):
    command = [sys.executable, "-c", DEAF.format(handler=handler, port=free_port())]
    ended = subprocess.run(command, timeout=60, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 3
    assert "the chief is lost" in ended.stderr


@pytest.mark.usefixtures("_clean")
def test_a_worker_in_the_background_of_a_script_hears_the_interrupt(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # As a shell leaves it.
    settings = config(free_port(), patience=1.0)
    try:
        run_cluster(settings, [], tmp_path, lambda: (fakes(tmp_path, settings), None))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_heart_that_stops_is_seen(tmp_path):
    hearts = Heartbeats(tmp_path, patience=1.5)
    with Heartbeat(tmp_path, "w"):
        time.sleep(0.5)
        assert hearts.alive() == {"w"}
        time.sleep(2.0)
        assert hearts.alive() == {"w"}
    (tmp_path / "w.beat").write_text("stopped")
    assert hearts.silent({"w"}) == set()
    time.sleep(1.7)
    assert hearts.silent({"w"}) == {"w"}


def test_a_second_report_of_a_trial_changes_nothing(tmp_path):
    settings = config(1).search
    oracle = oracle_of(tmp_path, settings, FakeHyperModel(tmp_path, settings))
    trial = oracle.create_trial("a")
    assert oracle.release("a") == trial.trial_id
    again = oracle.create_trial("b")
    assert again.trial_id == trial.trial_id
    for _ in range(2):
        oracle.update_trial(again.trial_id, {"objective": 1.0})
        again.status = "COMPLETED"
        oracle.end_trial(again)
    assert oracle.end_order == [trial.trial_id]


def test_threads_and_gpus_are_shared_out(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    allotted = [allotment(i, 4, ["0", "1", "2", "3", "4"]) for i in range(4)]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in allotted] == ["0,4", "1", "2", "3"]
    assert {s["OMP_NUM_THREADS"] for s in allotted} == {"2"}
    crowded = [allotment(i, 3, ["0", "1"]) for i in range(3)]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in crowded] == ["0", "1", "0"]
    assert crowded[0]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert "CUDA_VISIBLE_DEVICES" not in allotment(0, 2, [])


def test_flags_that_do_not_fit_together_are_refused():
    with pytest.raises(InputError, match="needs the chief's address"):
        ClusterConfig(role="worker")
    with pytest.raises(InputError, match="leave --role"):
        ClusterConfig(role="chief", chief="a:1", workers=2)
    for bad in ("localhost", "host:0", "host:port", ":8787"):
        with pytest.raises(InputError, match=f"chief={bad}"):
            ClusterConfig(role="worker", chief=bad)
    for ignored in ({"worker_name": "a"}, {"restarted": True}, {"patience": 5.0}, {"chief": "a:1"}):
        with pytest.raises(InputError):
            ClusterConfig(**ignored)
    with pytest.raises(InputError, match="belong to a worker"):
        ClusterConfig(role="chief", chief="a:1", worker_name="a")
    assert without_workers(["--trials", "3", "--workers", "4", "--workers=2"]) == ["--trials", "3"]


def test_a_search_has_one_folder_whatever_the_role_and_the_number_of_trials():
    name = ClusterConfig().search.run_name
    assert ClusterConfig(workers=4, trials=50, fresh=True, patience=5).run_name == name
    assert ClusterConfig(role="worker", chief="a:1").run_name == name
    assert ClusterConfig(folds=3).run_name != name
