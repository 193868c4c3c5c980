"""Several workers on Keras Tuner's own chief and gRPC: roles, heartbeats, and an end in bounded time.

The chief holds the oracle and hands out trials; workers run them and write their records into the run's folder, which
all machines share (a network file system). Keras Tuner's chief waits for ever for a worker that died, and its workers
wait an hour for a chief that did. Here each worker's heart beats in a file of the run's folder; the chief, on its own
clock, takes the trial of a silent worker back, and a worker that cannot reach its chief says so and stops.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from age_keras.errors import InputError
from tuning.cluster.liveness import LOST_CHIEF_EXIT, ChiefWatch, Heartbeat, end_with_the_supervisor, is_supervised
from tuning.cluster.lock import only_search
from tuning.cross_validated import CrossValidated
from tuning.search_config import ClusterConfig
from tuning.tuner import CrossValidationTuner, StoppedSearchError, oracle_of, with_verdict

Opened = Callable[[str], tuple[Path, CrossValidated]]


def run_cluster(
    config: ClusterConfig,
    command: Sequence[str],
    folder: Path,
    roles: Callable[[], tuple[Opened, Callable[[], Path]]],
    show: Callable[[Path], None] = print,
) -> int:
    """Plays the role that the configuration asks for.

    Args:
        config: Of the search.
        command: The command that was given, which the supervisor gives to the processes that it starts.
        folder: The run's folder.
        roles: Opens the search, and returns two functions: from a worker's name to the run's folder and a hypermodel;
            and one that ends the search, after its last trial, and returns the report.
        show: Called with the report's path.

    Returns:
        The exit code: 0; 3 where the chief was lost, 1 where a supervisor's workers all died.
    """
    if config.workers:
        from tuning.cluster.supervisor import supervise

        code = supervise(config, command, folder)
        if code:
            return code
        # The chief saw no GPU: what is trained after the trials is trained here, where all are free again.
        with only_search(folder):
            show(roles()[1]())
        return 0
    end_with_the_supervisor(LOST_CHIEF_EXIT)
    if config.role == "worker":
        return _worker(config, roles()[0])
    with only_search(folder):
        report = _chief(config, *roles())
    if report:
        show(report)
    return 0


def _chief(config: ClusterConfig, opened: Opened, finish: Callable[[], Path]) -> Path | None:
    """Serves the trials and ends the search. Returns the report, or None where the supervisor ends it."""
    from tuning.cluster.chief import serve

    run, hypermodel = opened("chief")
    oracle = oracle_of(run, config.search, hypermodel)
    if oracle.path.exists():
        oracle.reload()

    def trials() -> None:
        serve(oracle, hypermodel.trials, config.address, run / "workers", config.patience)
        if oracle.stopped_because:
            raise StoppedSearchError(oracle.stopped_because)
        hypermodel.trials.keep_best(hypermodel.keep, over=True)

    return with_verdict(run, trials, (lambda: None) if is_supervised() else finish)


def _worker(config: ClusterConfig, opened: Opened) -> int:
    import grpc
    from keras_tuner.src.distribute import oracle_client

    host, port = config.address
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
    lost = f"Worker {name}: the chief at {host}:{port} has not answered for {config.patience:g} seconds; stopping. "
    lost += "Finished folds are kept. Start the chief again, then the workers."
    watch = ChiefWatch(host, port, config.patience, lost)
    run, hypermodel = opened(name)
    hypermodel.restarted = config.restarted
    try:
        with Heartbeat(run / "workers", name), watch:
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
