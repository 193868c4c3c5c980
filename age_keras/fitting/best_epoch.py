"""The best epoch of a training, early stopping, and the learning rate's fall on a plateau."""

import math
from dataclasses import dataclass, replace


@dataclass
class BestEpoch:
    """Keeps the count of epochs with and without progress. Any gain is progress.

    All fields are numbers, so that `dataclasses.asdict` gives a state that JSON holds, and `BestEpoch(**state)`
    continues from it.

    Args:
        stop_patience: Epochs without progress after which the training stops. Defaults to `None`: never.
        plateau_patience: Epochs without progress after which the learning rate falls. Defaults to `None`: never.
        plateau_factor: Factor on the learning rate when it falls. Defaults to 0.1.

    Attributes:
        value: The lowest value so far.
        epoch: The epoch that had it; -1 before the first.
        wait: Epochs since.
        plateau_wait: Epochs since, or since the learning rate fell.
        rate_factor: The product of all falls of the learning rate.
        stopped: Whether the training is over.

    Example:

    >>> best = BestEpoch(stop_patience=2)
    >>> [best.update(epoch, error) for epoch, error in enumerate([5.0, 4.0, 4.5, 4.2])]
    [True, True, False, False]
    >>> best.epoch, best.value, best.stopped
    (1, 4.0, True)
    """

    stop_patience: int | None = None
    plateau_patience: int | None = None
    plateau_factor: float = 0.1
    value: float = math.inf
    epoch: int = -1
    wait: int = 0
    plateau_wait: int = 0
    rate_factor: float = 1.0
    stopped: bool = False

    def update(self, epoch: int, value: float, diverged: bool = False) -> bool:
        """Takes note of an epoch.

        Args:
            epoch: Its number.
            value: What is to be minimised; NaN is no progress.
            diverged: Whether the loss is no longer finite, which stops the training. Defaults to `False`.

        Returns:
            Whether this epoch is the best so far.
        """
        better = value < self.value
        if better:
            self.value, self.epoch, self.wait, self.plateau_wait = float(value), epoch, 0, 0
        else:
            self.wait += 1
            self.plateau_wait += 1
            if self.plateau_patience is not None and self.plateau_wait >= self.plateau_patience:
                self.rate_factor *= self.plateau_factor
                self.plateau_wait = 0
        self.stopped = diverged or (self.stop_patience is not None and self.wait >= self.stop_patience)
        return better

    def next_phase(
        self, stop_patience: int | None = None, plateau_patience: int | None = None, plateau_factor: float = 0.1
    ) -> "BestEpoch":
        """The same best epoch at the start of another phase, whose patience and learning rate begin anew."""
        return replace(BestEpoch(stop_patience, plateau_patience, plateau_factor), value=self.value, epoch=self.epoch)
