"""One recogniser per seed: trained, calibrated on what was held out, saved, and what it says of each image kept."""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from age_keras.characters.data.characters import Characters
from age_keras.characters.evaluation.calibration import abstain_threshold, conformal_threshold, fit_temperature, softmax
from age_keras.characters.model.looks import with_looks
from age_keras.characters.model.recogniser import RecogniserConfig, build_recogniser, logits_model
from age_keras.characters.training.train import RecogniserTraining, predict_probabilities, train_recogniser
from age_keras.errors import InputError
from age_keras.files import atomic_write
from age_keras.run.folder import Run


@dataclasses.dataclass(frozen=True)
class Confidence:
    """What a model promises about its answers, fitted on held-out images.

    Args:
        coverage: of the conformal sets: this share of the sets holds the truth.
        accuracy: of the answers that are not "unsure".

    Raises:
        InputError: one of them is no share.
    """

    coverage: float = 0.999
    accuracy: float = 0.9995

    def __post_init__(self):
        if not 0 < self.coverage < 1:
            raise InputError(f"`coverage` must lie between 0 and 1. Received: coverage={self.coverage}.")
        if not 0 < self.accuracy <= 1:
            raise InputError(f"`accuracy` must lie in (0, 1]. Received: accuracy={self.accuracy}.")


def train_seed(
    run: Run,
    model_config: RecogniserConfig,
    training: RecogniserTraining,
    confidence: Confidence,
    parts: dict[str, Characters],
    seed: int,
    looks: bool = False,
) -> tuple[list[dict[str, float]], dict[str, np.ndarray]]:
    """Trains one seed, or goes on with it, or reads what it gave.

    Args:
        run: the run's folder.
        model_config: the recogniser's shape.
        training: how it is trained.
        confidence: what is promised.
        parts: "train", "validation" (for watching and calibration alone) and "test".
        seed: of weights, order and augmentation.
        looks: it is trained on one look and answers by five (see `with_looks`).

    Returns:
        The epochs' record, and the logits `(N, classes)` of "validation" and "test", and with `looks` also those of one
        look at the test, "test_one_look".
    """
    name = f"seed{seed}"
    outputs, checkpoint = run.file("state", f"{name}_logits.npz"), run.file("checkpoints", f"{name}.keras")
    model, history = train_fresh(model_config, training, parts["train"], parts["validation"], seed, name, run)
    if outputs.exists() and checkpoint.exists():
        with np.load(outputs) as file:
            return history, dict(file)
    logits = {}
    if looks:
        logits["test_one_look"] = predict_probabilities(logits_model(model), parts["test"].images)
        model = with_looks(model)
    logits |= {p: predict_probabilities(logits_model(model), parts[p].images) for p in ("validation", "test")}
    calibrate(model, parts["validation"].labels, logits["validation"], confidence)
    save_model(model, checkpoint)
    with atomic_write(outputs, "wb") as file:
        np.savez(file, **logits)
    return history, logits


def fresh_recogniser(shape: RecogniserConfig, characters: Characters, seed: int) -> keras.Model:
    """A recogniser of these characters with the fresh weights of a seed."""
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
    """Builds a recogniser and trains it; in a run's folder it goes on with what was begun under this name.

    Args:
        shape: the recogniser's.
        training: how it is trained.
        train: what it learns from.
        validation: what is measured after each epoch.
        seed: of weights, order and augmentation.
        name: of its files, and beside the progress bar.
        run: keeps state and curves. Defaults to none.

    Returns:
        The model and the epochs' record.
    """
    model = fresh_recogniser(shape, train, seed)
    files = {"state": run.file("state", f"{name}.npz"), "tensorboard": run.file("tensorboard", name)} if run else {}
    return model, train_recogniser(model, train, validation, training, seed=seed, name=name, **files)


def calibrate(model: keras.Model, truth: np.ndarray, logits: np.ndarray, confidence: Confidence) -> dict[str, float]:
    """Fits temperature and thresholds on held-out logits and puts them into the model's last layer."""
    found = confidence_facts(truth, logits, confidence)
    layer = model.get_layer("probabilities")
    layer.temperature.assign(found["temperature"])
    layer.set_threshold.assign(found["set_threshold"])
    layer.abstain_below.assign(found["abstain_below"])
    return found


def confidence_facts(truth: np.ndarray, logits: np.ndarray, confidence: Confidence) -> dict[str, float]:
    """Temperature, threshold of the conformal sets, and confidence below which the answer is "unsure"."""
    temperature = fit_temperature(truth, logits)
    probabilities = softmax(logits, temperature)
    return {
        "temperature": temperature,
        "set_threshold": conformal_threshold(truth, probabilities, confidence.coverage),
        "abstain_below": abstain_threshold(truth, probabilities, confidence.accuracy),
    }


def save_model(model: keras.Model, path: Path) -> None:
    """Saves a model for use, without its optimizer; whole or not at all."""
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    temporary = path.with_name(f".{path.name}.tmp.keras")
    plain.save(temporary)
    temporary.replace(path)


def show_figures(run: Run, figures: Path) -> None:
    """Puts the report's pictures into TensorBoard too."""
    import tensorflow as tf

    with tf.summary.create_file_writer(str(run.file("tensorboard", "report"))).as_default():
        for picture in sorted(figures.glob("*.png")):
            tf.summary.image(picture.stem, tf.image.decode_png(picture.read_bytes(), channels=3)[None], step=0)
