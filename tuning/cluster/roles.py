"""Several workers on Keras Tuner's own chief and gRPC: roles, heartbeats, and an end in bounded time.

The chief holds the oracle and hands out trials; workers run them and write their records into the run's folder, which
all machines share (a network file system). Keras Tuner's chief waits for ever for a worker that died, and its workers
wait an hour for a chief that did. Here each worker's heart beats in a file of the run's folder; the chief, on its own
clock, takes the trial of a silent worker back, and a worker that cannot reach its chief says so and stops.
"""

import _thread
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from age_keras.errors import InputError
from age_keras.files import atomic_write
from tuning.cluster.lock import only_search
from tuning.cluster.supervised import end_with_the_supervisor, is_supervised
from tuning.cross_validated import CrossValidated
from tuning.search_config import ClusterConfig

BEAT_SECONDS = 1.0
LOST_CHIEF_EXIT = 3
ALL_DIED_EXIT = 1

Opened = Callable[[str], tuple[Path, CrossValidated]]


def address(chief: str) -> tuple[str, int]:
    """`HOST:PORT`, taken apart. Raises `InputError` where it is not that."""
    host, _, port = chief.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"--chief takes HOST:PORT, as 10.0.0.5:8787. Received: {chief}.")
    return host, int(port)


def run_cluster(
    config: ClusterConfig,
    arguments: Sequence[str],
    opened: Opened | None = None,
    finish: Callable[[], Path] | None = None,
    folder: Path | None = None,
    module: bool = True,
) -> int:
    """Plays the role that the configuration asks for.

    Args:
        config: of the search.
        arguments: the command's, which the supervisor gives to the processes that it starts.
        opened: gives, for a worker's name, the run's folder and a hypermodel. Defaults to those of age models.
        finish: ends the search and returns the report, on the chief or in the supervisor. Defaults to the outer
            measurement.
        folder: the run's. Defaults to that of age models.
        module: start processes as `python -m tuning.search`, else `arguments` begin with a script.

    Returns:
        The exit code: 0; 3 where the chief was lost, 1 where a supervisor's workers all died.
    """
    folder = folder or config.runs / "search" / config.run_name
    if config.workers:
        from tuning.cluster.supervisor import supervise

        code = supervise(config, [sys.executable, *(["-m", "tuning.search"] if module else []), *arguments], folder)
        if code:
            return code
        # The chief saw no GPU: what is trained after the trials is trained here, where all are free again.
        with only_search(folder):
            print(f"Report: {(finish or _of_ages(config)[1])()}")
        return 0
    end_with_the_supervisor(LOST_CHIEF_EXIT)
    if config.role == "chief":
        with only_search(folder):
            opened, ending = (opened, finish) if opened else _of_ages(config)
            return _chief(config, opened, ending)
    return _worker(config, opened or _of_ages(config)[0])


def _of_ages(config: ClusterConfig) -> tuple[Opened, Callable[[], Path]]:
    from dataclasses import replace

    from tuning.search import finish, hypermodel_of, open_search

    # Only the chief starts over: a worker would delete what it has just made.
    plain = config.search if config.role == "chief" else replace(config.search, fresh=False)
    study, parts, outer = open_search(plain, "search")

    def opened(worker: str) -> tuple[Path, CrossValidated]:
        return study.run.path, hypermodel_of(plain, study, parts, worker)

    def ending() -> Path:
        report = finish(plain, study, outer)
        print(f"\n{report.read_text(encoding='utf-8').splitlines()[0]}")
        return report

    return opened, ending


def _chief(config: ClusterConfig, opened: Opened, finish: Callable[[], Path]) -> int:
    from tuning.cluster.chief import serve
    from tuning.search import StoppedSearchError, oracle_of, with_verdict

    run, hypermodel = opened("chief")
    oracle = oracle_of(run, config.search, hypermodel)
    if oracle.path.exists():
        oracle.reload()

    def trials() -> None:
        serve(oracle, hypermodel.trials, address(config.chief), run / "workers", config.patience)
        if oracle.stopped_because:
            raise StoppedSearchError(oracle.stopped_because)
        hypermodel.trials.keep_best(hypermodel.keep, over=True)

    report = with_verdict(run, trials, finish if not is_supervised() else lambda: None)
    if report:
        print(f"Report: {report}")
    return 0


def _worker(config: ClusterConfig, opened: Opened) -> int:
    import grpc
    from keras_tuner.src.distribute import oracle_client

    from tuning.search import oracle_of
    from tuning.tuner import CrossValidationTuner

    host, port = address(config.chief)
    name = config.worker_name or f"{socket.gethostname()}-{os.getpid()}"
    if "chief" in name:
        raise InputError(
            "Keras Tuner takes a worker whose name holds 'chief' for the chief: give another --worker-name."
        )
    os.environ |= {
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": host,
        "KERASTUNER_ORACLE_PORT": str(port),
    }
    oracle_client.TIMEOUT = config.patience
    if threading.current_thread() is threading.main_thread():
        # A shell starts what a script puts into the background with interrupts ignored, the watch's too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    lost = f"worker {name}: the chief at {host}:{port} has not answered for {config.patience:g} seconds; stopping. "
    lost += "Finished folds are kept: start the chief again, then the workers."
    watch = ChiefWatch(host, port, config.patience, lost)
    run, hypermodel = opened(name)
    hypermodel.restarted = config.restarted
    try:
        with Heart(run / "workers", name), watch:
            tuner = CrossValidationTuner(oracle_of(run, config.search, hypermodel), hypermodel, run)
            hypermodel.on_event = _say
            tuner.search()
    except grpc.RpcError:
        # A chief that has ended in order leaves this file.
        if (run / "workers" / "ended").exists():
            return 0
        print(lost, file=sys.stderr, flush=True)
        return LOST_CHIEF_EXIT
    except KeyboardInterrupt:
        if not watch.lost:
            raise
        print(lost, file=sys.stderr, flush=True)
        return LOST_CHIEF_EXIT
    return 0


def _say(record, logs) -> None:
    if logs is None:
        print(f"trial {record.trial}: {record.status}, {len(record.folds)} of {record.wanted} folds", flush=True)


class Heart:
    """A file whose content changes every second while this process lives.

    Args:
        folder: of all workers' files.
        name: the worker's.
    """

    def __init__(self, folder: Path, name: str):
        self.path, self.stopped = folder / f"{name}.beat", threading.Event()
        self.thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Heart":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()
        self.thread.join()
        self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        beats = 0
        while not self.stopped.is_set():
            with atomic_write(self.path) as file:
                file.write(f"{os.getpid()} {beats}")
            beats += 1
            self.stopped.wait(BEAT_SECONDS)


class ChiefWatch:
    """Interrupts this process when nothing listens at the chief's address for `patience` seconds.

    A process that does not hear that, deep in a long computation, is ended after as many seconds more.

    Args:
        host, port: the chief's.
        patience: seconds.
        said: what such an end says.
    """

    def __init__(self, host: str, port: int, patience: float, said: str = ""):
        self.address, self.patience, self.said, self.lost = (host, port), patience, said, False
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "ChiefWatch":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()

    def _watch(self) -> None:
        answered = time.monotonic()
        while not self.stopped.wait(min(2.0, self.patience / 4)):
            try:
                socket.create_connection(self.address, timeout=2.0).close()
                answered = time.monotonic()
            except OSError:
                if time.monotonic() - answered > self.patience:
                    self.lost = True
                    # Also out of a long trial; what it has trained is in its state.
                    _thread.interrupt_main()
                    if not self.stopped.wait(self.patience):
                        print(self.said, file=sys.stderr, flush=True)
                        os._exit(LOST_CHIEF_EXIT)
                    return
