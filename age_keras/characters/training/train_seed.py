"""One recogniser from one seed: built, trained, calibrated on held-out characters, and kept in a run's folder."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from age_keras.characters.calibration import fit_confidence
from age_keras.characters.config import Confidence, RecogniserConfig, RecogniserTraining
from age_keras.characters.data.characters import Characters
from age_keras.characters.model.recogniser import build_recogniser, logits_model, predict_probabilities
from age_keras.characters.model.saving import save_recogniser
from age_keras.characters.model.test_time_augmentation import with_test_time_augmentation
from age_keras.characters.training.train import train_recogniser
from age_keras.files import atomic_write
from age_keras.run.folder import Run


def train_seed(
    run: Run,
    shape: RecogniserConfig,
    training: RecogniserTraining,
    confidence: Confidence,
    parts: dict[str, Characters],
    seed: int,
    test_time_augmentation: bool = False,
) -> tuple[list[dict[str, float]], dict[str, np.ndarray]]:
    """Trains one seed, resumes it, or reads what it gave.

    Args:
        run: The run's folder.
        shape: The recogniser's shape.
        training: How it is trained.
        confidence: What it promises.
        parts: "train", "validation" (for watching and calibration alone) and "test".
        seed: Seed of weights, order and augmentation.
        test_time_augmentation: Whether the trained model answers by the mean over several views of an image (see
            `with_test_time_augmentation`). Defaults to `False`.

    Returns:
        One row per epoch, and the logits `(N, classes)` of "validation" and "test"; with `test_time_augmentation` also
        those of the test images without it, "test_single_view".
    """
    name = f"seed{seed}"
    outputs, checkpoint = run.file("state", f"{name}_logits.npz"), run.file("checkpoints", f"{name}.keras")
    model, history = train_fresh(shape, training, parts["train"], parts["validation"], seed, name, run)
    if outputs.exists() and checkpoint.exists():
        with np.load(outputs) as file:
            return history, dict(file)
    logits: dict[str, Any] = {}
    if test_time_augmentation:
        logits["test_single_view"] = predict_probabilities(logits_model(model), parts["test"].images)
        model = with_test_time_augmentation(model)
    logits |= {p: predict_probabilities(logits_model(model), parts[p].images) for p in ("validation", "test")}
    facts = fit_confidence(parts["validation"].labels, logits["validation"], confidence)
    model.get_layer("probabilities").calibrate(**facts)
    save_recogniser(checkpoint, model, parts["train"].name)
    with atomic_write(outputs, "wb") as file:
        np.savez(file, **logits)
    return history, logits


def fresh_recogniser(shape: RecogniserConfig, characters: Characters, seed: int) -> keras.Model:
    """A recogniser of these characters with the initial weights of a seed."""
    keras.utils.set_random_seed(seed)
    return build_recogniser(shape, classes=characters.classes, image_size=characters.images.shape[1])


def train_fresh(
    shape: RecogniserConfig,
    training: RecogniserTraining,
    train: Characters,
    validation: Characters,
    seed: int,
    name: str,
    run: Run | None = None,
) -> tuple[keras.Model, list[dict[str, float]]]:
    """Builds a recogniser and trains it; in a run's folder it resumes what was begun under this name.

    Args:
        shape: The recogniser's shape.
        training: How it is trained.
        train: The characters it learns from.
        validation: The characters that are evaluated after each epoch.
        seed: Seed of weights, order and augmentation.
        name: Name of its files and label of the progress bar.
        run: Folder that keeps state and curves. Defaults to none.

    Returns:
        The model, and one row per epoch.
    """
    model = fresh_recogniser(shape, train, seed)
    files: dict[str, Any] = {}
    if run:
        files = {"state": run.file("state", f"{name}.npz"), "tensorboard": run.file("tensorboard", name)}
    return model, train_recogniser(model, train, validation, training, seed=seed, name=name, **files)


def show_figures(run: Run, figures: Path) -> None:
    """Puts the report's figures into TensorBoard too."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(run.file("tensorboard", "report"))).as_default():
        for picture in sorted(figures.glob("*.png")):
            tf.summary.image(picture.stem, tf.image.decode_png(picture.read_bytes(), channels=3)[None], step=0)
