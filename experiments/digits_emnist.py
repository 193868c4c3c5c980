"""Trains the recogniser on a split of EMNIST: letters and digits, upright, from NIST's own files.

    python -m experiments.digits_emnist --path gzip.zip                    # Balanced: 47 classes
    python -m experiments.digits_emnist --path gzip.zip --split letters

`gzip.zip` (or `matlab.zip`) is at https://www.nist.gov/itl/products-and-services/emnist-dataset. Published figures to
compare with: Balanced 91.06 % (WaveMix), 90.06 % with 0.40 million parameters; Letters 95.96 %. Not measured by us:
the files were not at hand; the loader is tested on files written in their exact format.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from age_keras.cli import run_experiment
from age_keras.models.digits import RecogniserConfig
from age_keras.training.digits import RecogniserTraining
from age_keras.training.digits_seeds import Confidence
from experiments import digits_mnist

MODEL = RecogniserConfig(stem=32, stages=((48, 48), (96, 96)))
TRAINING = RecogniserTraining(epochs=12, label_smoothing=0.1)
CONFIDENCE = Confidence(coverage=0.99, accuracy=0.97)


@dataclasses.dataclass(frozen=True)
class Config:
    """The experiment.

    Args:
        path: NIST's gzip.zip or matlab.zip, or the folder of its files.
        split: of EMNIST.
        limit: take only so many training characters (0: all).
        model: its shape.
        training: how it is trained.
        confidence: what it promises.
        validation: fraction held out of the training part (of other writers, where the files name them).
        seeds: one model each.
        runs: folder of all runs.
        run: the run's name; by default a hash of the configuration.
        fresh: start over.
    """

    path: Path | None = None
    split: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"] = "balanced"
    limit: int = 0
    model: RecogniserConfig = MODEL
    training: RecogniserTraining = TRAINING
    confidence: Confidence = CONFIDENCE
    validation: float = 1 / 12
    seeds: tuple[int, ...] = (0,)
    runs: Path = Path("runs")
    run: str | None = None
    fresh: bool = False


def get_config() -> Config:
    """The default: EMNIST Balanced."""
    return Config()


def experiment(config: Config) -> Path:
    """Trains every seed and writes the report. Returns its path."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "split"}
    return digits_mnist.experiment(digits_mnist.Config(data=f"emnist-{config.split}", **values), "digits_emnist")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
