"""What happens at the end of an epoch: the best is kept, the learning rate falls, the state is saved, time is told."""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from age_keras.fitting.best_epoch import BestEpoch
from age_keras.run.state import save_state, to_array
from age_keras.training.phases import Phase, learning_rate


@dataclass
class Progress:
    """How far a training has come: what is saved with its variables.

    Attributes:
        phase: The number of its phase, in `PHASES`.
        epoch: The next epoch, counted over all phases.
        best: The best epoch so far.
        history: A row for each epoch.
    """

    phase: int = 0
    epoch: int = 0
    best: BestEpoch = field(default_factory=BestEpoch)
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_state(cls, counters: dict[str, Any]) -> "Progress":
        """What `dataclasses.asdict` made a dictionary of."""
        return cls(**{**counters, "best": BestEpoch(**counters["best"])})


class EpochKeeper(keras.callbacks.Callback):
    """Sets the learning rate of each epoch, keeps the best one, stops early, and saves what a resumed training needs.

    Keras' own EarlyStopping, ReduceLROnPlateau and BackupAndRestore forget their counters when a process dies; here
    they are numbers that are saved together with the variables.

    Args:
        phase: The phase.
        progress: Of the training; changed in place.
        variables: All variables that this phase may change.
        best: Arrays of `variables` at the best epoch so far; changed in place.
        path: The state file, or `None` for none.
        save_every: Seconds between two savings within a phase.
        facts: Added to each row of the history (fold, phase).
    """

    def __init__(
        self,
        phase: Phase,
        progress: Progress,
        variables: list,
        best: list[np.ndarray],
        path: Path | None,
        save_every: float,
        facts: dict[str, Any],
    ):
        super().__init__()
        self.phase, self.progress, self.variables, self.best = phase, progress, variables, best
        self.path, self.save_every, self.facts = path, save_every, facts
        self.saved_at = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.started_at = time.monotonic()
        factor = self.progress.best.rate_factor
        rate = learning_rate(self.phase.settings, epoch - self.phase.first_epoch, factor)
        self.model.optimizer.learning_rate = rate

    def on_epoch_end(self, epoch, logs=None):
        row = {name: float(value) for name, value in (logs or {}).items()}
        row["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate).item())
        norm = getattr(getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer), "gradient_norm", None)
        if norm is not None:
            row["gradient_norm"] = float(keras.ops.convert_to_numpy(norm).item())
        seconds = round(time.monotonic() - self.started_at, 2)
        progress = self.progress
        progress.history.append({**self.facts, "epoch": epoch, **row, "seconds": seconds})
        progress.epoch = epoch + 1
        if progress.best.update(epoch, row["val_mae"], diverged=not math.isfinite(row["loss"])):
            self.best[:] = [to_array(v) for v in self.variables]
        self.model.stop_training = progress.best.stopped
        self.save_if_due()

    def save_if_due(self):
        """Saves where a training that was killed now would lose more than `save_every` seconds."""
        if self.path and time.monotonic() - self.saved_at >= self.save_every:
            save_state(self.path, self.variables, self.model.optimizer.variables, self.best, asdict(self.progress))
            self.saved_at = time.monotonic()


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
