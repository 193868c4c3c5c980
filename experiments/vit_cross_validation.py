"""The vision transformers of the study, by cross-validation.

    python -m experiments.vit_cross_validation --data DIR --folds.column PublishedFold

As `experiments.cross_validation`, with the transformers' protocol of `experiments.vit`. The study's table to compare
with (its sd divides by n): MobileViT-XXS 4.69 ± 0.22, ConvNeXtV2-Tiny 4.76 ± 0.72, TinyViT-11M 5.60 ± 0.71, SwinV2-Tiny
6.55 ± 0.56; its epochs were chosen on the folds that it scored.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import CrossValidationConfig
from age_keras.config.pages import PageSettings
from experiments.vit import TRANSFORMER_TRAINING


def get_config() -> CrossValidationConfig:
    """The study's four, five folds."""
    return CrossValidationConfig(
        backbones=("mobilevit_xxs", "convnextv2_tiny", "tinyvit_11m", "swinv2_tiny"),
        pages=PageSettings(image_size=256),
        training=TRANSFORMER_TRAINING,
    )


def experiment(config: CrossValidationConfig) -> Path:
    from experiments.train_and_report import on_folds

    return on_folds(config, "vit_cross_validation", "Age from handwriting: vision transformers, cross-validated")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
