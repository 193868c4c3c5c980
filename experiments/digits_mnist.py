"""Trains the recogniser of digits over several seeds, calibrates it, and reports what it can and cannot read.

    python -m experiments.digits_mnist                                       # scikit-learn's digits, no file needed
    python -m experiments.digits_mnist --data mnist --path ../shared/data/mnist.npz
    python -m experiments.digits_mnist --data mnist --path ../shared/data/mnist.npz --size small

A part of the training digits is held out for watching the training and for calibration; the weights kept are those of
the last epoch, so nothing is chosen on the test. The seed's original recipe, plain SGD without augmentation, is
`--training.optimizer sgd --training.learning-rate 0.1 --training.schedule constant --training.no-augment
--training.ema 0`. docs/digits.md has commands, times and results.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from age_keras.characters.data.characters import split_parts
from age_keras.characters.data.load import load_characters
from age_keras.characters.experiment import CharacterRun
from age_keras.characters.model.recogniser import RecogniserConfig, small_config
from age_keras.characters.training.seeds import Confidence
from age_keras.characters.training.train import RecogniserTraining
from age_keras.cli import run_experiment
from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedsConfig(CharacterRun):
    """Several recognisers of the same characters, which differ in their seed.

    Args:
        model: their shape.
        training: how they are trained.
        confidence: what they promise.
        validation: characters held out of the training part (of other writers, where these are known), a number or a
            fraction.
        seeds: one model each.
        looks: each answers by five looks: the mean over the image and turned, smaller and larger copies of it.
    """

    model: RecogniserConfig = dataclasses.field(default_factory=RecogniserConfig)
    training: RecogniserTraining = dataclasses.field(default_factory=RecogniserTraining)
    confidence: Confidence = dataclasses.field(default_factory=Confidence)
    validation: float = 1 / 12
    seeds: tuple[int, ...] = (0, 1, 2)
    looks: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SeedsConfig):
    """The experiment.

    Args:
        data: the set of characters: digits, mnist, emnist-balanced ..., folder, iam-words, iam-words-text ...
        writers: who wrote each digit of MNIST; then the held-out part is of other writers.
        size: the usual recogniser, or one of fewer than 25,000 parameters (then `model` is not looked at).
    """

    data: str = "digits"
    writers: Path | None = None
    size: Literal["usual", "small"] = "usual"


def get_config() -> Config:
    """The default: scikit-learn's digits, three seeds."""
    return Config()


def experiment(config: Config, name: str = "digits_mnist") -> Path:
    """Trains every seed and writes the report. Returns the report's path."""
    characters = load_characters(config.data, config.path, writers=config.writers)
    parts = split_parts(characters, config.validation, config.limit)
    if not config.seeds:
        raise InputError("give one seed at least: --seeds 0")

    from age_keras.characters.model.recogniser import build_recogniser
    from age_keras.characters.training.seeds import show_figures, train_seed

    shape = small_config() if config.size == "small" else config.model
    run = config.open(name, characters, model=shape)
    seeds = {
        s: train_seed(run, shape, config.training, config.confidence, parts, s, config.looks) for s in config.seeds
    }

    from age_keras.characters.evaluation.report import write_digits_report

    model = build_recogniser(shape, classes=characters.classes, image_size=characters.images.shape[1])
    write_digits_report(run.path, parts, seeds, dataclasses.asdict(config.confidence), model.count_params())
    show_figures(run, run.path / "figures")
    return run.path / "report.md"


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
