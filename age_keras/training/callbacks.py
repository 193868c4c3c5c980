"""What happens at the end of an epoch: the best is kept, the learning rate falls, the state is saved, time is told."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from age_keras.config.age import PhaseConfig
from age_keras.run.state import save_state


def fresh_counters() -> dict[str, Any]:
    """The counters of a training that has not begun."""
    return {"phase": 0, "epoch": 0, "best": math.inf, "best_epoch": -1, "best_phase": -1, "history": []} | new_phase()


def new_phase() -> dict[str, Any]:
    """The counters that begin again with each phase."""
    return {"wait": 0, "plateau_wait": 0, "rate_factor": 1.0, "stopped": False}


class EpochKeeper(keras.callbacks.Callback):
    """Early stopping, the schedule of the learning rate, the best epoch over all phases, and resuming, in one place.

    Keras' own EarlyStopping, ReduceLROnPlateau and BackupAndRestore forget their counters when a process dies; here
    they are one dictionary that is saved together with the variables.

    Args:
        phase: the phase's settings.
        counters: from `fresh_counters`; changed in place.
        variables: all variables that this phase may change.
        best: arrays of `variables` at the best epoch so far; changed in place.
        path: the state file, or None for none.
        save_every: seconds between two savings within a phase.
        first_epoch: number of the phase's first epoch, counted over all phases.
        facts: added to each row of the history (model, fold, phase).
    """

    def __init__(
        self,
        phase: PhaseConfig,
        counters: dict[str, Any],
        variables: list,
        best: list[np.ndarray],
        path: Path | None,
        save_every: float,
        first_epoch: int,
        facts: dict[str, Any],
    ):
        super().__init__()
        self.phase, self.counters, self.variables, self.best = phase, counters, variables, best
        self.path, self.save_every, self.first_epoch, self.facts = path, save_every, first_epoch, facts
        self.saved_at = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.started_at = time.monotonic()
        rate = learning_rate(self.phase, epoch - self.first_epoch, self.counters["rate_factor"])
        self.model.optimizer.learning_rate = rate

    def on_epoch_end(self, epoch, logs=None):
        logs, counters = logs or {}, self.counters
        row = {name: float(value) for name, value in logs.items()}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate).item())
        norm = getattr(getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer), "gradient_norm", None)
        if norm is not None:
            row["gradient_norm"] = float(keras.ops.convert_to_numpy(norm).item())
        seconds = round(time.monotonic() - self.started_at, 2)
        counters["history"].append({**self.facts, "epoch": epoch, **row, "seconds": seconds})
        counters["epoch"] = epoch + 1
        value = row["val_mae"]
        if value < counters["best"]:
            counters |= {"best": value, "best_epoch": epoch, "best_phase": counters["phase"]}
            counters |= {"wait": 0, "plateau_wait": 0}
            self.best[:] = [keras.ops.convert_to_numpy(v).copy() for v in self.variables]
        else:
            counters["wait"] += 1
            counters["plateau_wait"] += 1
        if self.phase.schedule == "plateau" and counters["plateau_wait"] >= self.phase.plateau_patience:
            counters["rate_factor"] *= self.phase.plateau_factor
            counters["plateau_wait"] = 0
        if counters["wait"] >= self.phase.stop_patience or not math.isfinite(row["loss"]):
            counters["stopped"] = True
            self.model.stop_training = True
        self.save_if_due()

    def save_if_due(self):
        """Saves where a training that was killed now would lose more than `save_every` seconds."""
        if self.path and time.monotonic() - self.saved_at >= self.save_every:
            self.save()

    def save(self):
        """Writes everything that the next start needs."""
        save_state(self.path, self.variables, self.model.optimizer.variables, self.best, self.counters)
        self.saved_at = time.monotonic()


def learning_rate(phase: PhaseConfig, epoch: int, factor: float = 1.0) -> float:
    """The learning rate of an epoch of a phase, counted from 0.

    Args:
        phase: its settings.
        epoch: counted from the phase's start.
        factor: what ReduceLROnPlateau has made of it.
    """
    rate = phase.learning_rate * factor
    if epoch < phase.warmup:
        return rate * (0.1 + 0.9 * epoch / phase.warmup)
    if phase.schedule == "cosine":
        done = (epoch - phase.warmup) / max(1, phase.epochs - phase.warmup)
        return rate * max(0.01, 0.5 * (1 + math.cos(math.pi * done)))
    return rate


class ProgressBar(keras.callbacks.Callback):
    """One bar for a whole training: fold and phase, epochs, time left, the error on the selection part.

    Args:
        title: what is trained.
        total: epochs of all phases.
        done: epochs done before.
    """

    def __init__(self, title: str, total: int, done: int = 0, show: bool = True):
        super().__init__()
        self.bar = tqdm(total=total, initial=done, desc=title, unit="epoch", disable=not show, dynamic_ncols=True)

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        self.bar.set_postfix({"loss": f"{logs['loss']:.3g}", "val_mae": f"{logs['val_mae']:.2f}"}, refresh=False)
        self.bar.update()

    def phase(self, title: str, done: int):
        """Names the phase that begins, and skips the epochs that an early stop saved."""
        self.bar.set_description(title)
        self.bar.update(done - self.bar.n)

    def close(self):
        self.bar.close()


class Stopper(keras.callbacks.Callback):
    """Calls a function after each epoch with (epoch, logs); a tuner prunes a trial by raising from it."""

    def __init__(self, function: Callable[[int, dict], None]):
        super().__init__()
        self.function = function

    def on_epoch_end(self, epoch, logs=None):
        self.function(epoch, dict(logs or {}))
