"""ResNet50 and InceptionV3 on one data set, next to the constants that a model must beat.

    python -m experiments.baseline_cnn --data DIR

The published study's first experiment without its defects: each backbone sees the pixels it expects, the epoch is
chosen on writers who are not scored, and the report opens with whether a constant does better. On HHD-Age's official
split expect an error of 2.7 to 4 years and constants of 2.65 (the study: ResNet50 3.12, InceptionV3 3.31).
One GPU: about 20 minutes with ImageNet weights. Without a GPU: --backbones mobilenetv3_small.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig


def get_config() -> HoldoutConfig:
    """Two CNNs with ImageNet weights: the head for up to 50 epochs, then the top quarter for up to 10."""
    return HoldoutConfig(backbones=("resnet50", "inception_v3"))


def experiment(config: HoldoutConfig) -> Path:
    from experiments.train_and_report import on_holdout

    return on_holdout(config, "baseline_cnn", "Age from handwriting: baseline CNNs")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
