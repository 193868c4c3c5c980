"""Trains the recogniser of digits over several seeds, calibrates it, and reports what it can and cannot read.

    python -m experiments.digits_mnist                                       # scikit-learn's digits, no file needed
    python -m experiments.digits_mnist --data mnist --path ../shared/data/mnist.npz
    python -m experiments.digits_mnist --data mnist --path ../shared/data/mnist.npz --size small

A part of the training digits is held out for watching the training and for calibration; the weights kept are those of
the last epoch, so nothing is chosen on the test. The seed's original recipe, plain SGD without augmentation, is
`--training.optimizer sgd --training.learning-rate 0.1 --training.no-augment --training.ema 0`. docs/digits.md has
commands, times and results.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import numpy as np

from age_keras.cli import run_experiment
from age_keras.data.characters import Characters, stratified_holdout, writer_holdout
from age_keras.data.digits import load_characters
from age_keras.errors import InputError
from age_keras.models.digits import RecogniserConfig, small_config
from age_keras.training.digits import RecogniserTraining
from age_keras.training.digits_seeds import Confidence


@dataclasses.dataclass(frozen=True)
class Config:
    """The experiment.

    Args:
        data: the set of characters: digits, mnist, emnist-balanced ..., folder, iam-words, iam-lines.
        path: its file or folder.
        writers: who wrote each digit of MNIST; then the held-out part is of other writers.
        limit: take only so many training characters (0: all).
        size: the usual recogniser, or one of fewer than 25,000 parameters (then `model` is not looked at).
        model: its shape.
        training: how it is trained.
        confidence: what it promises.
        validation: characters held out of the training part, a number or a fraction.
        seeds: one model each.
        runs: folder of all runs.
        run: the run's name; by default a hash of the configuration.
        fresh: start over.
    """

    data: str = "digits"
    path: Path | None = None
    writers: Path | None = None
    limit: int = 0
    size: Literal["usual", "small"] = "usual"
    model: RecogniserConfig = dataclasses.field(default_factory=RecogniserConfig)
    training: RecogniserTraining = dataclasses.field(default_factory=RecogniserTraining)
    confidence: Confidence = dataclasses.field(default_factory=Confidence)
    validation: float = 1 / 12
    seeds: tuple[int, ...] = (0, 1, 2)
    runs: Path = Path("runs")
    run: str | None = None
    fresh: bool = False


def get_config() -> Config:
    """The default: scikit-learn's digits, three seeds."""
    return Config()


def experiment(config: Config, name: str = "digits_mnist") -> Path:
    """Trains every seed and writes the report. Returns the report's path."""
    characters = load_characters(config.data, config.path, writers=config.writers)
    parts = split_parts(characters, config.validation, config.limit)
    if not config.seeds:
        raise InputError("give one seed at least: --seeds 0")

    from age_keras.models.digits import build_recogniser
    from age_keras.training.digits_seeds import show_figures, train_seed
    from age_keras.training.run import Run

    shape = small_config() if config.size == "small" else config.model
    settings = dataclasses.replace(config, model=shape, runs=Path(), run=None, fresh=False)
    run = Run.open(config.runs, name, settings, config.run, config.fresh, data_fingerprint=characters.fingerprint)
    seeds = {s: train_seed(run, shape, config.training, config.confidence, parts, s) for s in config.seeds}

    from age_keras.evaluation.digits_report import write_digits_report

    model = build_recogniser(shape, classes=characters.classes, image_size=characters.images.shape[1])
    write_digits_report(run.path, parts, seeds, dataclasses.asdict(config.confidence), model.count_params())
    show_figures(run, run.path / "figures")
    return run.path / "report.md"


def split_parts(characters: Characters, validation: float, limit: int = 0, seed: int = 0) -> dict[str, Characters]:
    """Training, validation and test parts; what is not published with a test gets a stratified fifth.

    Where writers are known, the validation part holds other writers than the training part.
    """
    if (characters.split == "test").any():
        train, test = characters.part("train"), characters.part("test")
    elif characters.writers is not None:
        rest, held = writer_holdout(characters.writers, 0.2, seed)
        train, test = characters.take(rest), characters.take(held)
    else:
        rest, held = stratified_holdout(characters.labels, 0.2, seed)
        train, test = characters.take(rest), characters.take(held)
    if limit and limit < len(train):
        train = train.take(stratified_holdout(train.labels, limit, seed)[1])
    if train.writers is not None and len(np.unique(train.writers)) > 1:
        rest, held = writer_holdout(train.writers, validation, seed)
    else:
        rest, held = stratified_holdout(train.labels, validation, seed)
    return {"train": train.take(rest), "validation": train.take(held), "test": test}


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
