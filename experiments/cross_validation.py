"""Cross-validation of any backbones: every page is scored once, by a model that never saw its writer.

    python -m experiments.cross_validation --data DIR --folds.column PublishedFold

The published study's five CNNs by default. Folds are disjoint by writer, stratified by age band, balanced in pages, and
recorded; the best epoch is chosen inside each training part. Re-run the command to resume an interrupted run at
its fold, phase and epoch. The study's table to compare with: InceptionV3 4.67 ± 0.48, DenseNet121 4.74 ± 0.53,
InceptionResNetV2 4.99 ± 0.48, ResNet50 5.02 ± 0.34, EfficientNetV2M 5.56 ± 0.61; its epochs were
chosen on the folds that it scored.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import CrossValidationConfig, TrainingConfig

STUDY = ("resnet50", "inception_v3", "inception_resnet_v2", "densenet121", "efficientnetv2_m")


def get_config() -> CrossValidationConfig:
    """The study's five CNNs, five folds."""
    return CrossValidationConfig(backbones=STUDY, training=TrainingConfig(batched_heads=True))


def experiment(config: CrossValidationConfig) -> Path:
    from experiments.train_and_report import on_folds

    return on_folds(config, "cross_validation", "Age from handwriting: cross-validation")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
