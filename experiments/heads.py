"""Which head? Plain regression against label distributions, ordinal heads, quantiles, rare-age weights and mixing.

    python -m experiments.heads --data ../shared/data/handwriting_age --source crohme-hamex crohme-ivc

One small backbone trained from nothing, the same folds, seed and epochs for every head; the report's table has a model
for each, and `age-keras compare` the significance. docs/heads.md has what came of it.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import AgeConfig, CrossValidationConfig, FoldsConfig, PhaseConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.evaluation.report.write import write_report
from age_keras.training.crossval import fold_parts
from age_keras.training.one_training import gather
from age_keras.training.study import Study, open_study
from age_keras.training.train_all import train_all

VARIANTS = ("mae", "mse", "huber", "dldl", "corn", "mean_variance", "quantile", "lds", "c_mixup", "regmixup")


@dataclass(frozen=True)
class HeadsConfig(CrossValidationConfig):
    """Heads on the same folds.

    Attributes:
        variants: which of the variants to train; see `variant`.
    """

    variants: tuple[str, ...] = VARIANTS


def get_config() -> HeadsConfig:
    """A small network from nothing, three folds."""
    return HeadsConfig(
        backbones=("resnet10",),
        model=ModelConfig(weights="none", dropout=0.2),
        pages=PageSettings(shorter_side=None, patch_size=256, stride=256, image_size=96),
        training=TrainingConfig(
            frozen=PhaseConfig(epochs=0, learning_rate=1e-3),
            fine_tune=PhaseConfig(epochs=8, learning_rate=1e-3, unfreeze=1.0, schedule="cosine", warmup=1),
        ),
        folds=FoldsConfig(count=3),
    )


def variant(config: AgeConfig, name: str) -> AgeConfig:
    """The configuration of one variant: a regression loss, a head, weights for rare ages, or a batch policy."""
    if name in ("mae", "mse", "huber"):
        return replace(config, model=replace(config.model, head="regression", loss=name))
    if name == "lds":
        return replace(config, training=replace(config.training, rare_ages="lds"))
    if name in ("c_mixup", "regmixup"):
        return replace(config, training=replace(config.training, mix=name, views="inf"))
    return replace(config, model=replace(config.model, head=name))


def experiment(config: HeadsConfig) -> Path:
    study = open_study(config, "heads")
    trainings = []
    parts = fold_parts(study)
    for name in config.variants:
        ground: Study = study.with_config(variant(config, name))
        named = [replace(part, label=f"{name}-{part.label}", repeat=name) for part in parts]
        trainings += [(config.backbones[0], part) for part in named]
        train_all(ground, named)
    gather(study, trainings)
    return write_report(study.run.path, "Age from handwriting: heads", study.image, notes=study.notes())


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
