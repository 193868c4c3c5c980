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

from age_keras.characters.config import Confidence, EmnistSplit, RecogniserConfig, RecogniserTraining, Seeds
from age_keras.cli import run_experiment
from experiments import digits_mnist

MODEL = RecogniserConfig(stem=32, stages=((48, 48), (96, 96)))
TRAINING = RecogniserTraining(epochs=12, label_smoothing=0.1)
CONFIDENCE = Confidence(coverage=0.99, accuracy=0.97)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(digits_mnist.SeedsConfig):
    """The experiment.

    Args:
        split: Split of EMNIST. `path` is NIST's gzip.zip or matlab.zip, or the folder of its files.
    """

    split: EmnistSplit = "balanced"
    model: RecogniserConfig = MODEL
    training: RecogniserTraining = TRAINING
    confidence: Confidence = CONFIDENCE
    seeds: Seeds = (0,)


def get_config() -> Config:
    """The default: EMNIST Balanced."""
    return Config()


def experiment(config: Config) -> Path:
    """Trains every seed and writes the report. Returns its path."""
    values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "split"}
    values["data"] = f"emnist-{config.split}"
    return digits_mnist.experiment(digits_mnist.Config(**values), "digits_emnist")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
