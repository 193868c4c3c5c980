"""A first run without any data: a small network on a synthetic cohort, about five minutes on two cores.

    python -m experiments.demo

Draws about 200 synthetic pages of 120 writers, trains `resnet10` from scratch on most of the writers, and scores it on
unseen ones. Expect a skill above zero: an error below that of the best constant. The figures say nothing about real
handwriting; give real pages with --data.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig, PhaseConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings


def get_config() -> HoldoutConfig:
    """Small patches, a small network, one phase with everything trainable."""
    return HoldoutConfig(
        backbones=("resnet10",),
        model=ModelConfig(weights="none", dropout=0.2, loss="huber"),
        pages=PageSettings(image_size=128),
        training=TrainingConfig(
            frozen=PhaseConfig(epochs=0, learning_rate=1e-3),
            fine_tune=PhaseConfig(epochs=20, learning_rate=2e-3, unfreeze=1.0, schedule="cosine", warmup=1),
            batch_size=32,
        ),
    )


def experiment(config: HoldoutConfig) -> Path:
    from experiments.train_and_report import on_holdout

    return on_holdout(config, "demo", "Age from handwriting: a first run")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
