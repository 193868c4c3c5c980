"""Trains the recogniser of digits over several seeds, calibrates it, and reports what it can and cannot read.

    python -m experiments.digits_mnist                                       # scikit-learn's digits, no file needed
    python -m experiments.digits_mnist --data mnist --path ../shared/data/mnist.npz
    python -m experiments.digits_mnist --data mnist --path ../shared/data/mnist.npz --size small

A part of the training digits is held out for watching the training and for calibration; the weights kept are those of
the last epoch, so nothing is chosen on the test. Plain SGD without augmentation is `--training.optimizer sgd
--training.learning-rate 0.1 --training.weight-decay 0 --training.schedule constant --training.no-augment
--training.ema 0`. docs/digits.md has commands, times and results.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from age_keras.characters.config import (
    CharacterRun,
    Confidence,
    DataName,
    HeldOut,
    RecogniserConfig,
    RecogniserTraining,
    Seeds,
    small_config,
)
from age_keras.characters.data.sources import load_characters
from age_keras.characters.data.splits import split_parts
from age_keras.cli import run_experiment
from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedsConfig(CharacterRun):
    """Several recognisers of the same characters, which differ in their seed.

    Args:
        model: Shape of the recognisers.
        training: How they are trained.
        confidence: What their answers promise.
        validation: Characters held out of the training part (of other writers, where these are known): a number, or a
            fraction.
        seeds: Seeds; one model is trained from each.
        test_time_augmentation: Whether an answer is the mean over five views: the image, and rotated, smaller and
            larger copies of it.
    """

    model: RecogniserConfig = dataclasses.field(default_factory=RecogniserConfig)
    training: RecogniserTraining = dataclasses.field(default_factory=RecogniserTraining)
    confidence: Confidence = dataclasses.field(default_factory=Confidence)
    validation: HeldOut = 1 / 12
    seeds: Seeds = (0, 1, 2)
    test_time_augmentation: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SeedsConfig):
    """The experiment.

    Args:
        data: Set of characters: digits, mnist, emnist-balanced ..., folder, iam-words, iam-words-text ...
        writers: File that names the writer of each digit of MNIST; the held-out part is then of other writers.
        size: The recogniser of `model`, or a "small" one of fewer than 25,000 parameters.
    """

    data: DataName = "digits"
    writers: Path | None = None
    size: Literal["usual", "small"] = "usual"

    def __post_init__(self):
        super().__post_init__()
        if self.size == "small" and self.model != RecogniserConfig():
            raise InputError("`size` and `model` exclude each other. Received: size='small' and a model of its own.")


def get_config() -> Config:
    """The default: scikit-learn's digits, three seeds."""
    return Config()


def experiment(config: Config, name: str = "digits_mnist") -> Path:
    """Trains every seed and writes the report. Returns the report's path."""
    characters = load_characters(config.data, config.path, writers=config.writers)
    parts = split_parts(characters, config.validation, config.limit)
    shape = small_config() if config.size == "small" else config.model
    run = config.open(name, characters.fingerprint, model=shape, size="usual")

    from age_keras.characters.evaluation.recogniser_report import write_recogniser_report
    from age_keras.characters.model.recogniser import build_recogniser
    from age_keras.characters.training.train_seed import show_figures, train_seed

    seeds = {
        s: train_seed(run, shape, config.training, config.confidence, parts, s, config.test_time_augmentation)
        for s in config.seeds
    }
    model = build_recogniser(shape, classes=characters.classes, image_size=characters.images.shape[1])
    write_recogniser_report(run.path, parts, seeds, config.confidence, model.count_params())
    show_figures(run, run.path / "figures")
    return run.path / "report.md"


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
