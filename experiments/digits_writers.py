"""Asks MNIST our own question: did a high-school student write this digit, or an employee of the census?

    python -m experiments.digits_writers --path ../shared/data/mnist.npz --writers ../shared/data/mnist_writers.npz

The test's writers are in no other part, and neither are those of the held-out part. Needs `mnist_writers.npz`
(`writer_train`, `hsf_train`, `writer_test`, `hsf_test`, from QMNIST's labels, aligned with MNIST). docs/digits.md has
times and results.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from age_keras.cli import run_experiment
from age_keras.data.characters import stratified_holdout, writer_holdout
from age_keras.data.digit_warp import WarpSettings
from age_keras.data.digits import load_mnist, with_mnist_writers
from age_keras.errors import InputError
from age_keras.models.digits import RecogniserConfig
from age_keras.training.digits import RecogniserTraining

STUDENTS = 4  # The part of NIST's collection ("hsf") that high-school students wrote.
CLASSES = ("employee", "student")
MODEL = RecogniserConfig(stem=16, stages=((24,), (48,)), units=32, heads=2, bidirectional=False, dropout=0.2)
TRAINING = RecogniserTraining(epochs=6, warp=WarpSettings(rotation=3, zoom=0.03, shear=0.03, shift=0.05, elastic=0.3))


@dataclasses.dataclass(frozen=True)
class Config:
    """The experiment.

    Args:
        path: MNIST: `mnist.npz` or the folder of IDX files; by default Keras downloads it.
        writers: `mnist_writers.npz`.
        limit: take only so many training digits (0: all).
        model: shape of the model.
        training: how it is trained; warps are slight, since slant and size tell writers apart.
        validation: fraction of the training writers held out for watching.
        seed: of everything.
        runs: folder of all runs.
        run: the run's name; by default a hash of the configuration.
        fresh: start over.
    """

    path: Path | None = None
    writers: Path | None = None
    limit: int = 0
    model: RecogniserConfig = MODEL
    training: RecogniserTraining = TRAINING
    validation: float = 0.1
    seed: int = 0
    runs: Path = Path("runs")
    run: str | None = None
    fresh: bool = False


def get_config() -> Config:
    """The default needs `--writers`."""
    return Config()


def experiment(config: Config) -> Path:
    """Trains on the training writers, scores the unseen ones, writes the report. Returns its path."""
    if config.writers is None:
        raise InputError("this experiment needs who wrote each digit: --writers mnist_writers.npz")
    characters, hsf = with_mnist_writers(load_mnist(config.path), config.writers)
    digit = characters.labels
    characters = dataclasses.replace(
        characters, labels=(hsf == STUDENTS).astype(np.int64), classes=CLASSES, name="mnist-writers"
    )
    train, test = characters.part("train"), characters.part("test")
    if shared := np.intersect1d(train.writers, test.writers).size:
        raise InputError(f"{config.writers}: {shared} writers are in both parts; the question needs unseen writers.")
    if config.limit and config.limit < len(train):
        train = train.take(stratified_holdout(train.labels, config.limit, config.seed)[1])
    rest, held = writer_holdout(train.writers, config.validation, config.seed, groups=train.labels)

    import keras
    import pandas as pd

    from age_keras.evaluation.writers_report import write_writers_report
    from age_keras.models.digits import build_recogniser, logits_model
    from age_keras.training.digits import predict_probabilities, train_recogniser
    from age_keras.training.digits_seeds import save_model
    from age_keras.training.run import Run

    settings = dataclasses.replace(config, runs=Path(), run=None, fresh=False)
    run = Run.open(
        config.runs, "digits_writers", settings, config.run, config.fresh, data_fingerprint=characters.fingerprint
    )
    keras.utils.set_random_seed(config.seed)
    model = build_recogniser(config.model, classes=CLASSES)
    history = train_recogniser(
        model,
        train.take(rest),
        train.take(held),
        config.training,
        seed=config.seed,
        state=run.file("state", "writers.npz"),
        tensorboard=run.file("tensorboard", "writers"),
        name="writers",
    )
    save_model(model, run.file("checkpoints", "writers.keras"))
    logits = predict_probabilities(logits_model(model), test.images).astype(np.float64)
    table = pd.DataFrame(
        {
            "Row": np.arange(len(test)),
            "Writer": test.writers,
            "Digit": digit[characters.split == "test"],
            "Student": test.labels,
            "Score": logits[:, 1] - logits[:, 0],
        }
    )
    return write_writers_report(run.path, table, history, model.count_params())


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
