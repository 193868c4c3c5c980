"""Early stopping and learning rate of a head among many, as Keras' EarlyStopping and ReduceLROnPlateau do it."""

from collections.abc import Callable
from typing import Any

import numpy as np


class HeadWatch:
    """Keeps the best epoch of one head.

    Args:
        settings: with `patience`, `reduce_patience` and `reduce_factor`, as `HeadSettings` has them.
    """

    def __init__(self, settings: Any):
        self.settings, self.history, self.stopped = settings, [], False
        self.best, self.best_epoch, self.waited = np.inf, 0, 0
        self.plateau, self.reduce_waited = np.inf, 0
        self.weights: tuple[np.ndarray, np.ndarray] | None = None

    def after(self, epoch: int, logs: dict, rate: float, weights: Callable[[], tuple]) -> float:
        """Takes note of an epoch.

        Args:
            epoch: counted from 0.
            logs: with `val_mae`.
            rate: the learning rate of this epoch.
            weights: returns the head's weights, to be kept where this epoch is the best.

        Returns:
            The next learning rate.
        """
        head, value = self.settings, logs["val_mae"]
        self.history.append({**logs, "learning_rate": rate})
        if value < self.best:
            self.best, self.best_epoch, self.waited = value, epoch, 0
            self.weights = weights()
        else:
            self.waited += 1
            self.stopped = head.patience is not None and self.waited >= head.patience
        if value < self.plateau - 1e-4:  # The least change that ReduceLROnPlateau heeds by default.
            self.plateau, self.reduce_waited = value, 0
        else:
            self.reduce_waited += 1
            if head.reduce_patience is not None and self.reduce_waited >= head.reduce_patience:
                self.reduce_waited = 0
                return rate * head.reduce_factor
        return rate
