"""Trains a recogniser against an adversary, and measures any recogniser under attack, corruption and strangers."""

from pathlib import Path

import keras
import numpy as np

from age_keras.characters.data.characters import Characters, stratified_holdout
from age_keras.characters.data.out_of_distribution import strangers
from age_keras.characters.evaluation.robustness import on_strangers, under_corruptions, under_rotation, under_shift
from age_keras.characters.model.recogniser import RecogniserConfig, logits_model
from age_keras.characters.training.adversarial import AdversarialTrainer, Adversary
from age_keras.characters.training.attacks import robust_accuracy
from age_keras.characters.training.seeds import Confidence, calibrate, fresh_recogniser, save_model
from age_keras.characters.training.train import RecogniserTraining, predict_probabilities, train_recogniser
from age_keras.run.folder import Run


def train_robust(
    run: Run,
    model_config: RecogniserConfig,
    training: RecogniserTraining,
    adversary: Adversary,
    confidence: Confidence,
    parts: dict[str, Characters],
    seed: int,
) -> tuple[keras.Model, list[dict[str, float]]]:
    """Trains, calibrates and saves one robust recogniser, or goes on with it.

    Args:
        run: the run's folder; the model is `checkpoints/robust.keras`.
        model_config: its shape.
        training: how it is trained.
        adversary: who disturbs its images.
        confidence: what it promises on clean images.
        parts: "train", "validation" and "test".
        seed: of weights, order and random starts.

    Returns:
        The model and the epochs' record.
    """
    train = parts["train"]
    model = fresh_recogniser(model_config, train, seed)
    steps = training.epochs * (len(train) // training.batch_size)
    history = train_recogniser(
        AdversarialTrainer(model, adversary, steps),
        train,
        parts["validation"],
        training,
        seed=seed,
        state=run.file("state", "robust.npz"),
        tensorboard=run.file("tensorboard", "robust"),
        name="robust",
    )
    held = predict_probabilities(logits_model(model), parts["validation"].images)
    calibrate(model, parts["validation"].labels, held, confidence)
    save_model(model, run.file("checkpoints", "robust.keras"))
    return model, history


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
        model: from `build_recogniser`.
        test: the test characters; `clean` is on all of them.
        attacked: how many of them are attacked, every class with its share (0: all); the first `attacked` are also
            those that are corrupted, turned and shifted.
        epsilons: strengths of the attacks.
        steps: of PGD.
        restarts: of PGD.
        letters: EMNIST's files, for handwritten letters. Defaults to none.
        seed: of the choice and of what is random.
        name: shown beside progress.

    Returns:
        `clean`, `attacked` (count), `attacks` {attack: {epsilon: accuracy}}, `corruptions`, `rotation`, `shift`,
        `strangers`, `parameters`.
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
        for attack in ("noise", "fgsm", "pgd")
    }
    print(f"{name}: attacks done, corruptions and strangers next", flush=True)
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
        "strangers": on_strangers(predict, part.images, strangers(test.images, len(part), seed, letters), abstain),
    }
