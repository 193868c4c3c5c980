"""Attacks by Foolbox (Rauber et al. 2020), so that a robust model is graded by somebody else's code."""

from collections.abc import Callable

import numpy as np

from age_keras.errors import InputError

ATTACKS = ("noise", "fgsm", "pgd")


def robust_accuracy(
    to_logits: Callable,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epsilon: float = 0.3,
    attack: str = "pgd",
    steps: int = 40,
    restarts: int = 1,
    batch_size: int = 500,
    progress: bool = True,
) -> tuple[float, np.ndarray]:
    """Fraction of images read right although each pixel may have moved by up to epsilon (L∞).

    Args:
        to_logits: A TensorFlow function of float32 images `(N, S, S, 1)`, 0-255, to logits.
        images: `uint8 (N, S, S)`.
        labels: `(N,)`.
        epsilon: Largest change of a pixel, scaled to 0-1. Defaults to 0.3.
        attack: "fgsm" (Goodfellow et al. 2015), "pgd" (Madry et al. 2018: random start, steps of 1/30 · 4 epsilon) or
            "noise" (uniform noise, the floor of what an attack must beat).
        steps: Steps of PGD. Defaults to 40.
        restarts: Random starts; an image counts as read right only if it withstands all. Defaults to 1.
        batch_size: Images in a batch. Defaults to 500.
        progress: Whether to show a progress bar. Defaults to `True`.

    Returns:
        The fraction, and `bool (N,)`: which images withstood.

    Raises:
        InputError: Foolbox is not installed, or the attack is unknown.
    """
    try:
        import foolbox
    except ImportError as error:
        raise InputError("Attacks need Foolbox: pip install -e '.[attacks]'.") from error
    import tensorflow as tf
    from tqdm import tqdm

    if attack not in ATTACKS:
        raise InputError(f"There is no attack {attack!r}; there are {', '.join(ATTACKS)}.")
    make = {
        "noise": foolbox.attacks.LinfAdditiveUniformNoiseAttack,
        "fgsm": foolbox.attacks.LinfFastGradientAttack,
        "pgd": lambda: foolbox.attacks.LinfPGD(rel_stepsize=4 / 30, steps=steps, random_start=True),
    }[attack]
    scaled = tf.function(lambda x: to_logits(x * 255.0), reduce_retracing=True)
    model = foolbox.TensorFlowModel(scaled, bounds=(0, 1))
    withstood = np.zeros(len(images), bool)
    starts = range(0, len(images), batch_size)
    for start in tqdm(starts, desc=f"{attack} at {epsilon:g}", disable=not progress, unit="batch"):
        rows = slice(start, start + batch_size)
        x = tf.constant(images[rows, ..., None], tf.float32) / 255.0
        y = tf.constant(labels[rows], tf.int64)
        held = np.argmax(scaled(x).numpy(), axis=1) == labels[rows]
        for _ in range(restarts):
            _, _, fooled = make()(model, x, y, epsilons=epsilon)
            held &= ~fooled.numpy()
        withstood[rows] = held
    return float(withstood.mean()), withstood
