"""The chief of a search: Keras Tuner's gRPC service, an eye on the workers' hearts, and the bar."""

import sys
import time
from concurrent import futures
from pathlib import Path

import grpc
import keras_tuner
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from age_keras.errors import InputError
from age_keras.files import atomic_write
from tuning.cluster.liveness import Heartbeats
from tuning.oracles import total_folds
from tuning.progress import SearchBar
from tuning.trials import Trials

TICK = 0.5


def serve(oracle: keras_tuner.Oracle, trials: Trials, address: tuple[str, int], workers: Path, patience: float) -> None:
    """Serves trials until there are no more and every worker has ended or fallen silent.

    Args:
        oracle: a durable one.
        trials: the records, for the bar.
        address: host and port to listen on.
        workers: folder of the workers' hearts.
        patience: seconds without a beat after which a worker counts as dead and its trial is given to the next.

    Raises:
        InputError: the port is taken.
    """
    workers.mkdir(parents=True, exist_ok=True)
    for old in (workers / "ended", *workers.glob("*.beat")):  # Whoever lives writes its beat again.
        old.unlink(missing_ok=True)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)])
    servicer = OracleServicer(oracle)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    host, port = address
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise InputError(
            f"The chief cannot listen on {host}:{port}: the port is in use, or the address is not of this machine."
        )
    server.start()
    bar = SearchBar(trials, total_folds(oracle, trials.folds))
    hearts = Heartbeats(workers, patience)
    try:
        while not (
            (servicer.stop_triggered or oracle.stopped_because)
            and not oracle.ongoing_trials
            and not (oracle.tuner_ids & hearts.alive())
        ):
            time.sleep(TICK)
            for name in hearts.silent(set(oracle.ongoing_trials)):
                held = oracle.ongoing_trials.get(name)
                if held and hearts.died(name):  # Before the release: the next worker reads the record at once.
                    trials.mark_lost(held.trial_id)
                trial = oracle.release(name)
                if trial:
                    print(
                        f"Worker {name} stopped responding: trial {trial} goes to the next worker.",
                        file=sys.stderr,
                        flush=True,
                    )
            bar.refresh()
        with atomic_write(workers / "ended") as file:
            file.write("in order\n")
    finally:
        bar.close()
        server.stop(grace=1.0).wait()
