"""How a recogniser's answers hold: under corruptions, rotation, shift, and on images that are no digits."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from age_keras.characters.data.warp import affine_batch
from age_keras.characters.evaluation.classification import roc_auc
from age_keras.characters.evaluation.corruptions import CORRUPTIONS, corrupt

Probabilities = Callable[[np.ndarray], np.ndarray]
ANGLES = (0, 10, 20, 30, 40, 50, 60)
SHIFTS = (0, 1, 2, 3, 4, 5, 6)


def _accuracy(predict: Probabilities, images: np.ndarray, labels: np.ndarray) -> float:
    return float((predict(images).argmax(axis=1) == labels).mean())


def under_corruptions(
    predict: Probabilities, images: np.ndarray, labels: np.ndarray, severities: Sequence[int] = (1, 3, 5)
) -> dict[str, dict[int, float]]:
    """Accuracy under every corruption of `CORRUPTIONS`, by severity.

    Args:
        predict: images `uint8 (N, S, S)` to probabilities `(N, classes)`.
        images: the test images.
        labels: `(N,)`.
        severities: of 1 to 5.
    """
    return {name: {s: _accuracy(predict, corrupt(images, name, s), labels) for s in severities} for name in CORRUPTIONS}


def under_rotation(predict: Probabilities, images: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Accuracy at each angle of `ANGLES` (degrees), the mean of both directions."""
    return {
        angle: float(np.mean([_accuracy(predict, affine_batch(images, rotation=s * angle), labels) for s in (-1, 1)]))
        for angle in ANGLES
    }


def under_shift(predict: Probabilities, images: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    """Accuracy at each shift of `SHIFTS` (pixels), the mean of right, left, down and up."""

    def moved(x, y):
        return _accuracy(predict, affine_batch(images, shift_x=x, shift_y=y), labels)

    return {far: float(np.mean([moved(far, 0), moved(-far, 0), moved(0, far), moved(0, -far)])) for far in SHIFTS}


def on_strangers(
    predict: Probabilities, digits: np.ndarray, sets: Mapping[str, np.ndarray], abstain_below: float
) -> dict[str, dict[str, float]]:
    """How confidence behaves on images that are no digits.

    Args:
        predict: images to probabilities.
        digits: real test digits, to compare with.
        sets: from `age_keras.characters.data.out_of_distribution.strangers`.
        abstain_below: the confidence below which the answer is "unsure".

    Returns:
        For the digits and every set: `confidence` (mean of the highest probability), `unsure` (share), and for the
        sets `auroc`, the chance that a digit gets more confidence than a stranger.
    """
    real = predict(digits).max(axis=1)
    found = {"digits": {"confidence": float(real.mean()), "unsure": float((real < abstain_below).mean())}}
    for name, images in sets.items():
        given = predict(images).max(axis=1)
        found[name] = {
            "confidence": float(given.mean()),
            "unsure": float((given < abstain_below).mean()),
            "auroc": roc_auc(np.repeat([True, False], [len(real), len(given)]), np.concatenate([real, given])),
        }
    return found
