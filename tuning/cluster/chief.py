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
from tuning.sweeps import total_folds
from tuning.trials import Trials
from tuning.watch import SearchBar

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
        raise InputError(f"The chief cannot listen on {host}:{port}: the port is taken, or not of this machine.")
    server.start()
    bar = SearchBar(trials, total_folds(oracle, trials.folds))
    hearts = Hearts(workers, patience)
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
                    print(f"worker {name} is silent: trial {trial} goes to the next.", file=sys.stderr, flush=True)
            bar.refresh()
        with atomic_write(workers / "ended") as file:
            file.write("in order\n")
    finally:
        bar.close()
        server.stop(grace=1.0).wait()


class Hearts:
    """Which workers live: those whose file changed lately, by the chief's own clock.

    Args:
        folder: of the workers' files.
        patience: seconds.
    """

    def __init__(self, folder: Path, patience: float):
        self.folder, self.patience = folder, patience
        self.seen: dict[str, tuple[str, float]] = {}

    def alive(self) -> set[str]:
        """Names of the workers whose hearts beat."""
        self._look()
        now = time.monotonic()
        return {name for name, (_, at) in self.seen.items() if now - at <= self.patience}

    def silent(self, names: set[str]) -> set[str]:
        """Those of some workers that have had their time and do not beat."""
        self._look()
        now = time.monotonic()
        for name in names:
            self.seen.setdefault(name, ("", now))  # Begun before this chief, or not beating yet.
        return names - self.alive()

    def died(self, name: str) -> bool:
        """Whether a silent worker was killed: it beat in this chief's time, and did not end in order.

        One that ends in order, or is interrupted, takes its file away.
        """
        return bool(self.seen.get(name, ("", 0.0))[0]) and (self.folder / f"{name}.beat").exists()

    def _look(self) -> None:
        for path in self.folder.glob("*.beat"):
            try:
                beat = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                continue
            if self.seen.get(path.stem, ("", 0.0))[0] != beat:
                self.seen[path.stem] = (beat, time.monotonic())
