"""What a classifier got right: accuracy with its interval, intervals over seeds, the hardest cases."""

import dataclasses

import numpy as np
import scipy.stats


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A fraction of right answers.

    Attributes:
        right: Number of right answers.
        count: Number of answers.
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    right: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The fraction; NaN without answers."""
        return self.right / self.count if self.count else float("nan")

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} % ({100 * self.low:.2f}–{100 * self.high:.2f} %)"


def accuracy(truth: np.ndarray, predicted: np.ndarray) -> Accuracy:
    """The fraction of right answers with Wilson's 95 % interval (Wilson 1927), which holds near 100 % too.

    Args:
        truth: `(N,)` labels.
        predicted: `(N,)` labels.
    """
    right, count = int((np.asarray(truth) == predicted).sum()), len(truth)
    if not count:
        return Accuracy(0, 0, 0.0, 1.0)
    interval = scipy.stats.binomtest(right, count).proportion_ci(method="wilson")
    return Accuracy(right, count, float(interval.low), float(interval.high))


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of a few repetitions (seeds) and its 95 % Student's t interval: `(mean, low, high)`; NaN for one value."""
    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values))
    return mean, mean - half, mean + half


def hardest(truth: np.ndarray, probabilities: np.ndarray, count: int = 40) -> np.ndarray:
    """Row numbers with the lowest probability given to the truth, the hardest first."""
    given = probabilities[np.arange(len(truth)), truth]
    return np.argsort(given, kind="stable")[:count]
