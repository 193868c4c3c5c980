"""How a recogniser holds up: under attack, corruption, rotation and shift, and on out-of-distribution images."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from sklearn.metrics import roc_auc_score

from age_keras.characters.data.characters import Characters
from age_keras.characters.data.corruptions import CORRUPTIONS, corrupt
from age_keras.characters.data.out_of_distribution import out_of_distribution
from age_keras.characters.data.splits import stratified_holdout
from age_keras.characters.data.warp import affine_batch
from age_keras.characters.model.recogniser import logits_model, predict_probabilities
from age_keras.characters.robustness.attacks import ATTACKS, robust_accuracy

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
        predict: A function of images `uint8 (N, S, S)` that gives probabilities `(N, classes)`.
        images: The test images.
        labels: `(N,)`.
        severities: Severities, from 1 to 5.
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


def on_out_of_distribution(
    predict: Probabilities, digits: np.ndarray, sets: Mapping[str, np.ndarray], abstain_below: float
) -> dict[str, dict[str, float]]:
    """How confidence behaves on images that are no digits.

    Args:
        predict: A function of images that gives probabilities.
        digits: Real test digits, for comparison.
        sets: Images by name of the set, from `out_of_distribution`.
        abstain_below: The confidence below which the answer is "unsure".

    Returns:
        For the digits and every set: `confidence` (mean of the highest probability) and `unsure` (fraction), and for
        the sets `auroc`, the probability that a digit gets more confidence than an image of the set.
    """
    real = predict(digits).max(axis=1)
    found = {"digits": {"confidence": float(real.mean()), "unsure": float((real < abstain_below).mean())}}
    for name, images in sets.items():
        given = predict(images).max(axis=1)
        found[name] = {
            "confidence": float(given.mean()),
            "unsure": float((given < abstain_below).mean()),
            "auroc": float(roc_auc_score(np.repeat([1, 0], [len(real), len(given)]), np.concatenate([real, given]))),
        }
    return found


def measure(
    model: keras.Model,
    test: Characters,
    *,
    attacked: int = 1000,
    epsilons: tuple[float, ...] = (0.1, 0.2, 0.3),
    steps: int = 40,
    restarts: int = 1,
    letters: Path | None = None,
    seed: int = 0,
    name: str = "model",
) -> dict:
    """All measures of robustness of one calibrated recogniser.

    Args:
        model: From `build_recogniser`, calibrated.
        test: The test characters; `clean` is on all of them.
        attacked: Number of them to attack, stratified by class; 0 attacks all. The same images are corrupted, rotated
            and shifted. Defaults to 1000.
        epsilons: Strengths of the attacks.
        steps: Steps of PGD. Defaults to 40.
        restarts: Random starts of PGD. Defaults to 1.
        letters: EMNIST's files, for handwritten letters. Defaults to none.
        seed: Seed of the choice and of what is random. Defaults to 0.
        name: Label of the progress output. Defaults to "model".

    Returns:
        `clean`, `attacked` (count), `attacks` {attack: {epsilon: accuracy}}, `corruptions`, `rotation`, `shift`,
        `out_of_distribution`, `parameters`.
    """
    part = test
    if attacked and attacked < len(test):
        part = test.take(stratified_holdout(test.labels, attacked, seed)[1])
    keras.utils.set_random_seed(seed)
    to_logits = logits_model(model)

    def predict(images: np.ndarray) -> np.ndarray:
        return predict_probabilities(model, images)

    attacks = {
        attack: {
            f"{epsilon:g}": robust_accuracy(
                lambda x: to_logits(x, training=False),
                part.images,
                part.labels,
                epsilon=epsilon,
                attack=attack,
                steps=steps,
                restarts=restarts if attack == "pgd" else 1,
            )[0]
            for epsilon in epsilons
        }
        for attack in ATTACKS
    }
    print(f"{name}: attacks done; corruptions and out-of-distribution images next.", flush=True)
    abstain = float(model.get_layer("probabilities").abstain_below.numpy())
    return {
        "clean": float((predict(test.images).argmax(axis=1) == test.labels).mean()),
        "test": len(test),
        "attacked": len(part),
        "parameters": model.count_params(),
        "attacks": attacks,
        "corruptions": under_corruptions(predict, part.images, part.labels),
        "rotation": under_rotation(predict, part.images, part.labels),
        "shift": under_shift(predict, part.images, part.labels),
        "out_of_distribution": on_out_of_distribution(
            predict, part.images, out_of_distribution(test.images, len(part), seed, letters), abstain
        ),
    }
