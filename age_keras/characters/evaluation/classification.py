"""What a classifier got right: accuracy with its interval, the confusion matrix, the hardest cases."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A share of right answers.

    Attributes:
        right: how many.
        count: of how many.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    right: int
    count: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share."""
        return self.right / self.count if self.count else float("nan")

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} % ({100 * self.low:.2f}–{100 * self.high:.2f})"


def accuracy(truth: np.ndarray, predicted: np.ndarray, confidence: float = 0.95) -> Accuracy:
    """The share of right answers with Wilson's interval (Wilson 1927), which holds near 100 % too.

    Args:
        truth: `(N,)` labels.
        predicted: `(N,)` labels.
        confidence: of the interval. Defaults to 0.95.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    right, count = int((truth == predicted).sum()), len(truth)
    low, high = wilson_interval(right, count, confidence)
    return Accuracy(right, count, low, high)


def wilson_interval(right: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share, `right` of `count`."""
    from scipy.stats import norm

    if not count:
        return 0.0, 1.0
    z = float(norm.ppf(0.5 + confidence / 2))
    share = right / count
    centre = share + z * z / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return float(max(0.0, (centre - half) / scale)), float(min(1.0, (centre + half) / scale))


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of a few repetitions (seeds) and Student's t interval: `(mean, low, high)`; NaN ends for one value."""
    from scipy.stats import t

    values = np.asarray(values, float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = float(t.ppf(0.5 + confidence / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def paired_difference(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of `a - b` over repetitions with the same seeds, and its t interval."""
    return mean_interval(np.asarray(a, float) - np.asarray(b, float), confidence)


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """`int64 (classes, classes)`: rows the truth, columns the answer."""
    index = np.asarray(truth) * classes + np.asarray(predicted)
    return np.bincount(index, minlength=classes * classes).reshape(classes, classes)


def hardest(truth: np.ndarray, probabilities: np.ndarray, count: int = 40) -> np.ndarray:
    """Row numbers with the least probability given to the truth, the hardest first."""
    given = probabilities[np.arange(len(truth)), truth]
    return np.argsort(given, kind="stable")[:count]


def roc_auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    NaN where one of the two is missing.
    """
    from scipy.stats import rankdata

    positive = np.asarray(positive, bool)
    n, m = int(positive.sum()), int((~positive).sum())
    if not n or not m:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - n * (n + 1) / 2) / (n * m))
