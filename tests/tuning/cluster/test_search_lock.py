"""A run has one search at a time, and its processes do not outlive their supervisor."""

import subprocess
import sys

import pytest

from age_keras.errors import InputError
from tuning.cluster.lock import only_search
from tuning.search import search
from tuning.search_config import SearchConfig

HOLD = "import sys, pathlib; from tuning.cluster.lock import only_search\nwith only_search(pathlib.Path(sys.argv[1])): "
HOLD += "print('held', flush=True); sys.stdin.read()"
WATCH = "import time; from tuning.cluster.liveness import end_with_the_supervisor as end; end(3); time.sleep({})"


def test_a_second_search_in_a_run_is_refused_until_the_first_has_died(tmp_path, monkeypatch):
    monkeypatch.setattr("tuning.cluster.lock.PATIENCE", 0.0)
    run = tmp_path / "search" / "one"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match=r"Another search runs in .*one"):
            search(SearchConfig(runs=tmp_path, run="one", fresh=True))
    finally:
        holder.kill()
        holder.communicate()
    with only_search(run):
        pass


def test_a_process_ends_when_its_supervisor_is_no_more():
    start = (
        "import os, subprocess, sys\n"
        "os.environ['AGE_KERAS_SUPERVISOR'] = str(os.getpid())\n"
        f"child = subprocess.Popen([sys.executable, '-c', {WATCH.format(60)!r}])\n"
        "os.kill(os.getpid(), 9)"
    )
    # The pipe closes when the last process that holds it has ended.
    said = subprocess.run([sys.executable, "-c", start], stderr=subprocess.PIPE, text=True, timeout=30).stderr
    assert "The supervisor of this search is gone" in said


def test_without_a_supervisor_nothing_ends():
    assert subprocess.run([sys.executable, "-c", WATCH.format(2)], timeout=30).returncode == 0
