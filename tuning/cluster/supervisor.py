"""A chief and workers on this machine: started with their share of threads and GPUs, restarted when they die.

A worker that dies leaves its trial RUNNING with the chief. Started again under its own name (Keras Tuner's
`KERASTUNER_TUNER_ID`) it gets that very trial back and goes on from the epoch that was saved.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from age_keras.training.distributed.devices import allotment, gpus
from tuning.cluster.liveness import ALL_DIED_EXIT, LOST_CHIEF_EXIT, SUPERVISOR
from tuning.search_config import ClusterConfig

MOST_RESTARTS = 20
TICK = 0.5
CHIEF_ALONE = {"--fresh"}


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def own() -> dict[str, str]:
    """What tells a process who its supervisor is."""
    return {SUPERVISOR: str(os.getpid())}


def without_workers(arguments: Sequence[str]) -> list[str]:
    """The arguments of a supervisor, without `--workers N`."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == "--workers":
            skip = True
        elif not argument.startswith("--workers="):
            kept.append(argument)
    return kept


def supervise(config: ClusterConfig, command: Sequence[str], folder: Path) -> int:
    """Runs the trials of a search with a chief and workers on this machine; the end of it is the caller's.

    Args:
        config: of the search.
        command: that started it; each process gets it with a role instead of `--workers`.
        folder: the run's; the workers' output goes into `workers/*.log` there.

    Returns:
        The chief's exit code; 3 where the chief died, 1 where all workers have died too often.
    """
    chief = f"127.0.0.1:{free_port()}"
    base = [*without_workers(command), "--chief", chief, "--patience", f"{config.patience:g}"]
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if gpus() else {}
    boss = subprocess.Popen([*base, "--role", "chief"], env=os.environ | own() | hidden)
    logs = folder / "workers"
    team = [Worker(number, config.workers, base, logs) for number in range(config.workers)]
    try:
        # The pages are read and the run is opened by the chief; workers only find them done.
        while boss.poll() is None and not _listens(chief):
            time.sleep(TICK)
        if boss.poll() is not None:  # It was refused: it has said why.
            return _end(boss, (), config.patience)
        logs.mkdir(parents=True, exist_ok=True)
        for worker in team:
            worker.start()
        while boss.poll() is None:
            time.sleep(TICK)
            for worker in team:
                worker.look_after(over=(logs / "ended").exists())
            if all(worker.given_up for worker in team):
                print(f"All workers died: see {logs}/*.log. The search stops.", file=sys.stderr, flush=True)
                return ALL_DIED_EXIT
        return _end(boss, team, config.patience)
    finally:
        for process in (boss, *(worker.process for worker in team)):
            if process and process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGTERM)


class Worker:
    """One worker process, started again under its name when it dies.

    Args:
        number: from 0.
        workers: how many there are.
        base: the command without a role.
        logs: folder of its output.
    """

    def __init__(self, number: int, workers: int, base: Sequence[str], logs: Path):
        self.name, self.logs = f"worker{number}", logs
        self.log = logs / f"worker{number}.log"
        self.command = [*(a for a in base if a not in CHIEF_ALONE), "--role", "worker", "--worker-name", self.name]
        self.environment = os.environ | own() | allotment(number, workers, gpus())
        self.process: subprocess.Popen | None = None
        self.restarts, self.given_up = 0, False

    def start(self, *flags: str) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*self.command, *flags],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        (self.logs / f"{self.name}.pid").write_text(str(self.process.pid))

    def look_after(self, over: bool) -> None:
        """Starts it again where it died before the search was over, or lost a chief that is still there."""
        code = self.process.poll() if self.process else None
        if code in (None, 0) or over or self.given_up:
            return
        if self.restarts == MOST_RESTARTS:
            self.given_up = True
            said = f"has died {self.restarts + 1} times and is given up: see {self.log}."
        else:
            self.restarts += 1
            # A lost chief says nothing of the worker's trial.
            self.start(*(["--restarted"] if code != LOST_CHIEF_EXIT else []))
            said = f"ended with code {code}: started again under its name."
        print(f"{self.name} {said}", file=sys.stderr, flush=True)


def _end(boss: subprocess.Popen, team: Sequence[Worker], patience: float) -> int:
    if boss.returncode < 0:
        said = f"The chief was killed (signal {-boss.returncode}). Re-run the command to resume."
        said += f" Its workers stop within about {2 * patience:g} seconds." if team else ""
        print(said, file=sys.stderr, flush=True)
    until = time.monotonic() + patience + 30
    for worker in team:
        if worker.process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=max(0.1, until - time.monotonic()))
    return LOST_CHIEF_EXIT if boss.returncode < 0 else boss.returncode


def _listens(chief: str) -> bool:
    host, port = chief.split(":")
    with contextlib.suppress(OSError):
        socket.create_connection((host, int(port)), timeout=1.0).close()
        return True
    return False
