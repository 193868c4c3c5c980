"""The arithmetic of confidence: calibration error, temperature, conformal sets and abstaining, on arrays alone."""

import dataclasses

import numpy as np
import scipy.special

from age_keras.characters.config import Confidence
from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy, in bins of equal width.

    Attributes:
        edges: `(bins + 1,)`.
        count: `(bins,)` answers in each bin.
        confidence: `(bins,)` mean confidence, NaN in an empty bin.
        accuracy: `(bins,)` accuracy, NaN in an empty bin.
    """

    edges: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: |accuracy - confidence| weighted by count (Naeini et al. 2015, equation 3)."""
        full = self.count > 0
        gap = np.abs(self.accuracy[full] - self.confidence[full])
        return float(gap @ self.count[full] / max(self.count.sum(), 1))


def reliability(truth: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> Reliability:
    """The reliability diagram's numbers (Guo et al. 2017, section 2).

    Args:
        truth: `(N,)` labels.
        probabilities: `(N, classes)`.
        bins: Number of bins of equal width over [0, 1]. Defaults to 15.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0, 1, bins + 1)
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            edges,
            count,
            np.bincount(at, confidence, bins) / count,
            np.bincount(at, right, bins) / count,
        )


def expected_calibration_error(truth: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """See `Reliability.ece`; a fraction, not a percentage."""
    return reliability(truth, probabilities, bins).ece


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """softmax(logits / temperature) over the last axis, in float64."""
    return scipy.special.softmax(np.asarray(logits, np.float64) / temperature, axis=-1)


def negative_log_likelihood(truth: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> float:
    """Mean of -log p(truth), in nats."""
    logs = scipy.special.log_softmax(np.asarray(logits, np.float64) / temperature, axis=-1)
    return float(-logs[np.arange(len(truth)), truth].mean())


def fit_temperature(truth: np.ndarray, logits: np.ndarray) -> float:
    """The temperature that makes held-out digits most likely (Guo et al. 2017, section 4.2).

    The targets are smoothed by 1 / (n + 2), as Platt (1999) did: where all n held-out answers are right, the plain
    likelihood would want boundless confidence.

    Args:
        truth: `(N,)` labels of digits that the model was not trained on.
        logits: `(N, classes)`.

    Returns:
        The temperature, between 0.05 and 20.
    """
    from scipy.optimize import minimize_scalar

    if not len(truth):
        raise InputError("A temperature cannot be fitted without held-out images.")
    smoothing = 1 / (len(truth) + 2)
    mean = np.asarray(logits, np.float64).mean(axis=1)

    def loss(log_temperature: float) -> float:
        temperature = float(np.exp(log_temperature))
        right = negative_log_likelihood(truth, logits, temperature)
        # Every class alike: log-sum-exp less the mean logit, which differs from `right` by the truth's own logit.
        spread = (logits[np.arange(len(truth)), truth] - mean).mean() / temperature
        return right + smoothing * float(spread)

    found = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(found.x))


def conformal_threshold(truth: np.ndarray, probabilities: np.ndarray, coverage: float) -> float:
    """The least probability of a class in a conformal set (split conformal; Sadinle, Lei & Wasserman 2019).

    For a new image exchangeable with the n held-out ones, the set of classes with at least this probability holds
    the truth with probability at least `coverage`: the threshold is the k-th smallest probability of the truth,
    k = floor((n + 1)(1 - coverage)).

    Args:
        truth: `(n,)` labels of held-out images.
        probabilities: `(n, classes)`.
        coverage: Fraction of sets that hold the truth, e.g. 0.999, which needs n >= 999.

    Returns:
        The threshold; 0 (every class is in every set) where n is too small for the coverage.
    """
    if not 0 < coverage < 1:
        raise InputError(f"`coverage` must lie between 0 and 1. Received: coverage={coverage}.")
    given = np.sort(probabilities[np.arange(len(truth)), truth])
    place = int(np.floor((len(given) + 1) * (1 - coverage) + 1e-9))
    return float(given[place - 1]) if place >= 1 else 0.0


def conformal_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """`bool (N, classes)`: the classes in each set; the most probable class is always in."""
    sets = np.asarray(probabilities) >= threshold
    sets[np.arange(len(sets)), np.argmax(probabilities, axis=1)] = True
    return sets


def abstain_threshold(truth: np.ndarray, probabilities: np.ndarray, wanted_accuracy: float) -> float:
    """The lowest confidence at which the answers given are right as often as wanted.

    Equal confidences stand or fall together. A model's file keeps the threshold in float32, and its probabilities are
    float32 too; so the threshold is a float32 number, and the promise holds for the held-out images whether the given
    probabilities or their float32 values are compared with it.

    Args:
        truth: `(N,)` labels of held-out images.
        probabilities: `(N, classes)`.
        wanted_accuracy: Accuracy of the answers that are given, e.g. 0.9995.

    Returns:
        The threshold: answers below it are "unsure". 0 where all answers may be given; just above the highest
        confidence where no part is right often enough.
    """
    if not len(truth):
        return 0.0
    confidence = probabilities.max(axis=1)
    wrong = probabilities.argmax(axis=1) != truth
    near = confidence.astype(np.float32)
    below = np.where(near > confidence, np.nextafter(near, np.float32(-1)), near)
    cuts = np.unique(below)
    good = np.ones(len(cuts), bool)
    for compared in (confidence, near):
        answered, errors = (len(x) - np.searchsorted(np.sort(x), cuts) for x in (compared, compared[wrong]))
        good &= errors <= (1 - wanted_accuracy + 1e-12) * answered
    if good[0]:
        return 0.0
    return float(cuts[good][0] if good.any() else np.nextafter(near.max(), np.float32(2)))


def risk_coverage(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fraction answered and fraction wrong among the answered, from the surest answer to all: two arrays `(N,)`."""
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = (probabilities.argmax(axis=1) != truth)[order]
    count = np.arange(1, len(order) + 1)
    return count / len(order), np.cumsum(wrong) / count


def fit_confidence(truth: np.ndarray, logits: np.ndarray, confidence: Confidence) -> dict[str, float]:
    """Fits what a model needs to keep its promises.

    Args:
        truth: `(N,)` labels of held-out images.
        logits: `(N, classes)`.
        confidence: What is promised.

    Returns:
        `temperature`, `set_threshold` (of the conformal sets) and `abstain_below` (the confidence below which an
        answer is "unsure").
    """
    temperature = fit_temperature(truth, logits)
    probabilities = softmax(logits, temperature)
    return {
        "temperature": temperature,
        "set_threshold": conformal_threshold(truth, probabilities, confidence.coverage),
        "abstain_below": abstain_threshold(truth, probabilities, confidence.accuracy),
    }
