"""Asks MNIST our own question: did a high-school student write this digit, or a census employee?

    python -m experiments.digits_writers --path ../shared/data/mnist.npz --writers ../shared/data/mnist_writers.npz

The training writers are dealt to folds: one model a fold, trained on the writers of the others. A test digit's score is
the mean over the models; a training digit's is that of the model that has not seen its writer. A second stage goes from
digits to their writer: it sees mean and spread of these scores and of the ink, and is fitted on the training writers,
whose scores also say where to cut. The test's writers are in no other part. Needs `mnist_writers.npz`
(`writer_train`, `hsf_train`, `writer_test`, `hsf_test`, from QMNIST's labels, aligned with MNIST). docs/digits.md has
times and results.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from age_keras.characters.config import CharacterRun, RecogniserConfig, RecogniserTraining, WarpSettings
from age_keras.characters.data.sources import load_mnist, with_mnist_writers
from age_keras.characters.data.splits import stratified_holdout, writer_folds
from age_keras.cli import run_experiment
from age_keras.config.settings import Seed
from age_keras.errors import InputError

STUDENTS = 4  # The part of NIST's collection ("hsf") that high-school students wrote.
CLASSES = ("employee", "student")
MODEL = RecogniserConfig(detail=(), stem=16, stages=((24,), (48,)), units=32, heads=2, bidirectional=False, dropout=0.2)
TRAINING = RecogniserTraining(
    epochs=6, learning_rate=3e-3, warp=WarpSettings(rotation=3, zoom=0.03, shear=0.03, shift=0.05, elastic=0.3)
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CharacterRun):
    """The experiment.

    Args:
        writers: `mnist_writers.npz`. `path` is `mnist.npz` or the folder of IDX files; by default Keras downloads it.
        model: Shape of the model.
        training: How it is trained. Warps are slight, since slant and size tell writers apart.
        folds: Number of folds of the training writers, and so of models.
        seed: Seed of everything random.
    """

    writers: Path | None = None
    model: RecogniserConfig = MODEL
    training: RecogniserTraining = TRAINING
    folds: Annotated[int, Ge(2)] = 5
    seed: Seed = 0


def get_config() -> Config:
    """The default needs `--writers`."""
    return Config()


def experiment(config: Config) -> Path:
    """Trains on the training writers, scores the unseen ones, writes the report. Returns its path."""
    if config.writers is None:
        raise InputError("This experiment needs the writer of each digit: give --writers mnist_writers.npz.")
    characters, hsf = with_mnist_writers(load_mnist(config.path), config.writers)
    digit = characters.labels
    characters = dataclasses.replace(
        characters, labels=(hsf == STUDENTS).astype(np.int64), classes=CLASSES, name="mnist-writers"
    )
    train_rows, test_rows = (np.flatnonzero(characters.split == part) for part in ("train", "test"))
    train, test = characters.take(train_rows), characters.take(test_rows)
    if shared := np.intersect1d(train.writers, test.writers).size:
        raise InputError(f"{config.writers}: {shared} writers are in both parts; the question needs unseen writers.")
    if config.limit and config.limit < len(train):
        train_rows = train_rows[stratified_holdout(train.labels, config.limit, config.seed)[1]]
        train = characters.take(train_rows)
    fold = writer_folds(train.writers, config.folds, config.seed, groups=train.labels)
    run = config.open("digits_writers", characters.fingerprint)

    import pandas as pd

    from age_keras.characters.data.ink_statistics import ink_statistics
    from age_keras.characters.evaluation.writers_report import write_writers_report
    from age_keras.characters.model.recogniser import logits_model, predict_probabilities
    from age_keras.characters.model.saving import save_recogniser
    from age_keras.characters.training.train_seed import train_fresh
    from age_keras.characters.training.writer_stage import staged_scores

    history, unseen, scores = [], np.zeros(len(train)), np.zeros((config.folds, len(test)))
    for k in range(config.folds):
        rest, held = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        model, rows = train_fresh(
            config.model, config.training, train.take(rest), train.take(held), config.seed + k, f"fold{k}", run
        )
        to_logits = logits_model(model)

        def log_odds(images, to_logits=to_logits):
            logits = predict_probabilities(to_logits, images).astype(np.float64)
            return logits[:, 1] - logits[:, 0]

        history += [{"fold": k, **row} for row in rows]
        save_recogniser(run.file("checkpoints", f"fold{k}.keras"), model, train.name)
        unseen[held], scores[k] = (log_odds(part.images) for part in (train.take(held), test))

    def table(part, rows, score):
        columns = {"Row": np.arange(len(part)), "Writer": part.writers, "Digit": digit[rows], "Student": part.labels}
        return pd.DataFrame({**columns, "Score": score})

    digits = table(test, test_rows, scores.mean(axis=0))
    seen = table(train, train_rows, unseen)
    staged = staged_scores(
        seen,
        np.column_stack([ink_statistics(train.images), unseen]),
        fold,
        digits,
        [np.column_stack([ink_statistics(test.images), score]) for score in scores],
        config.seed,
    )
    return write_writers_report(run.path, digits, seen, staged, history, model.count_params())


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
