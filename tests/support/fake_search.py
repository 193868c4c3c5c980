"""A search whose folds are arithmetic: to test oracles, races, resuming and clusters without training anything.

As a script it takes the flags of `tuning.search` and FAKE_* from the environment.
"""

import os
import signal
import sys
import time
from pathlib import Path

from age_keras.cli import exit_code
from tuning.cross_validated import CrossValidated
from tuning.search_config import ClusterConfig, SearchConfig


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class FakeHyperModel(CrossValidated):
    """Two hyper-parameters, three epochs a fold; `log` gets a line for each epoch and each fold trained."""

    def __init__(self, run: Path, config: SearchConfig, worker: str = "tuner0", misfortune=None):
        super().__init__(run, config, worker)
        self.log, self.misfortune = run / "log.txt", misfortune or (lambda hp, fold, epoch: None)
        self.pause = float(os.environ.get("FAKE_PAUSE", "0"))

    def space(self, hp):
        x = hp.Float("x", 0.0, 1.0, step=0.25, default=0.5)
        return x, hp.Choice("c", ["a", "b", "c"])

    def fit_fold(self, hp, fold, folder, on_epoch):
        x, c = self.space(hp)
        state = folder / f"fold{fold}.npz"
        first = int(state.read_text()) if state.exists() else 0
        for epoch in range(first, 3):
            if self.pause:
                time.sleep(self.pause)
            self.misfortune(hp, fold, epoch)
            self._write(f"epoch {folder.name} {fold} {epoch}")
            state.write_text(str(epoch + 1))
            on_epoch(epoch, {"loss": 1.0, "val_mae": 5.0})
        (folder / f"fold{fold}.keras").write_bytes(b"0" * 1000)
        self._write(f"fold {folder.name} {fold}")
        value = 4 + 4 * (x - 0.25) ** 2 + {"a": 0.2, "b": 0.0, "c": 3.0}[c] + 0.3 * fold
        return {"mae": value, "skill": 1 - value / 6, "band_mae": value, "epochs": 3, "curve": [6.0, 5.0, value]}

    def _write(self, line: str) -> None:
        with self.log.open("a") as file:
            file.write(line + "\n")


def run(folder, settings, misfortune=None, restarted=False):
    """Runs a fake search in this process and returns its records."""
    from tuning.tuner import run_trials

    hypermodel = FakeHyperModel(folder, settings, misfortune=misfortune)
    hypermodel.restarted = restarted
    folder.mkdir(exist_ok=True)
    run_trials(folder, settings, hypermodel, progress=False)
    return hypermodel.trials


def killer():
    """Kills the process at an epoch named by FAKE_KILL (`trial`-less: the n-th epoch since the start)."""
    left = int(os.environ.get("FAKE_KILL", "-1"))
    count = 0

    def misfortune(hp, fold, epoch):
        nonlocal count
        count += 1
        if count == left:
            os.kill(os.getpid(), signal.SIGKILL)

    return misfortune


def main() -> int:
    """`fake_search.py <run folder> <flags of tuning.search>`."""
    import tyro

    run = Path(sys.argv[1])
    run.mkdir(parents=True, exist_ok=True)

    def call():
        config = tyro.cli(ClusterConfig, args=sys.argv[2:])
        if config.workers or config.role != "alone":
            from tuning.cluster.roles import run_cluster

            def opened(worker):
                return run, FakeHyperModel(run, config.search, worker, killer())

            def finish():
                (run / "finished.txt").write_text(str(os.getpid()))
                return run

            return run_cluster(config, [sys.executable, __file__, *sys.argv[1:]], run, lambda: (opened, finish))
        from tuning.tuner import run_trials

        run_trials(run, config.search, FakeHyperModel(run, config.search, "tuner0", killer()), progress=False)
        return 0

    return exit_code(call)


if __name__ == "__main__":
    sys.exit(main())
