"""The published study's cross-validation as it was done, defects included, to compare with its table.

    python -m experiments.published_protocol --data DIR --folds.column PublishedFold

Pixels divided by 255 for every backbone, blank paper kept, no shuffling, MSE, 50 epochs of the head and 10 of the whole
network at batch 128, and the best epoch chosen on the very fold that is scored. The report says so. Expect the study's
figures (see `experiments.cross_validation`), and errors that are too small for what a new writer would see.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import CrossValidationConfig, FoldsConfig, PhaseConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from experiments.cross_validation import STUDY


def get_config() -> CrossValidationConfig:
    """Every setting as published; the defects are listed in docs/published_study.md."""
    return CrossValidationConfig(
        backbones=STUDY,
        model=ModelConfig(preprocessing="published", dropout=0.5, loss="mse"),
        pages=PageSettings(image_size=None, blank="published", channels=3),
        training=TrainingConfig(
            frozen=PhaseConfig(epochs=50, learning_rate=1e-3),
            fine_tune=PhaseConfig(epochs=10, learning_rate=1e-4, unfreeze=1.0),
            batch_size=128,
            shuffle=False,
            augment="published",
            views="inf",
        ),
        folds=FoldsConfig(selection="published"),
        seed=42,
    )


def experiment(config: CrossValidationConfig) -> Path:
    from experiments.train_and_report import on_folds

    return on_folds(config, "published_protocol", "Age from handwriting: the published protocol")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
