"""Callbacks of a recogniser's training: its record, the weights to keep, the state to resume from, the progress bar."""

import dataclasses
import sys
import time
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from age_keras.fitting.best_epoch import BestEpoch
from age_keras.run.state import assign, load_state, save_state, to_array


class Checkpointer(keras.callbacks.Callback):
    """Keeps the record of the epochs and, on disk, all that is needed to resume after the last whole epoch.

    Args:
        path: The state's file; `None` keeps nothing on disk.
        keep: "last" or "best": the weights that `finish` leaves in the model.
        patience: Epochs without a better validation loss before training stops; 0 never stops it.
    """

    def __init__(self, path: Path | None, *, keep: str, patience: int):
        super().__init__()
        self.path, self.keep = path, keep
        self.history: list[dict[str, float]] = []
        self.best = BestEpoch(stop_patience=patience or None)
        self.best_weights: list[np.ndarray] = []
        self.validated: list[np.ndarray] = []

    def restore(self, model: keras.Model) -> int:
        """Puts the state on disk back into a compiled model. Returns the epoch to resume with."""
        model.optimizer.build(model.trainable_variables)
        loaded = load_state(self.path) if self.path else None
        if loaded is None:
            return 0
        counters, arrays = loaded
        assign(model.variables, arrays["variable"])
        assign(model.optimizer.variables, arrays["slot"])
        self.history, self.best = counters["history"], BestEpoch(**counters["best"])
        count = len(model.variables)
        self.best_weights, self.validated = arrays["best"][:count], arrays["best"][count:]
        return len(self.history)

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_test_end(self, logs=None):
        self.validated = [to_array(v) for v in self.model.variables]
        if self.best.update(len(self.history), logs["loss"]):
            self.best_weights = self.validated

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, **{k: float(v) for k, v in (logs or {}).items()}}
        row["learning_rate"] = float(self.model.optimizer.learning_rate)
        row["seconds"] = round(time.perf_counter() - self._began, 2)
        self.history.append(row)
        self.model.stop_training |= self.best.stopped
        if self.path and np.isfinite(row["loss"]):
            counters = {"history": self.history, "best": dataclasses.asdict(self.best)}
            arrays = [*self.best_weights, *self.validated]
            save_state(self.path, self.model.variables, self.model.optimizer.variables, arrays, counters)

    def finish(self, model: keras.Model) -> None:
        """Leaves in the model the weights that are kept, as they were when validated."""
        kept = self.best_weights if self.keep == "best" else self.validated
        if kept:
            assign(model.variables, kept)


class ProgressBar(keras.callbacks.Callback):
    """A bar over all steps of a training, on stderr, with the last figures and the time left."""

    def __init__(self, name: str, steps: int):
        super().__init__()
        self.name, self.steps = name, steps

    def on_train_begin(self, logs=None):
        self._bar = tqdm(total=self.steps, desc=self.name, unit="step", file=sys.stderr, mininterval=1.0)

    def on_train_batch_end(self, batch, logs=None):
        self._bar.update(1)

    def on_epoch_end(self, epoch, logs=None):
        shown = {k: f"{v:.4f}" for k, v in (logs or {}).items() if k in ("loss", "val_accuracy")}
        self._bar.set_postfix({"epoch": epoch + 1, **shown})

    def on_train_end(self, logs=None):
        self._bar.close()
