"""Which head? Plain regression against label distributions, ordinal heads, quantiles, rare-age weights and mixing.

    python -m experiments.heads --data ../shared/data/handwriting_age --source crohme-hamex crohme-ivc

A small backbone trained from scratch, with the same folds, seed and epochs for every variant. The report's table has
one model per variant, and `age-keras compare` gives the significance. docs/heads.md has the results.
"""

import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import MinLen
from tyro.conf import Fixed, Suppress

from age_keras.cli import run_experiment
from age_keras.config.age import CrossValidationConfig, FoldsConfig, PhaseConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.config.settings import Distinct

Variant = Literal["mae", "mse", "huber", "dldl", "corn", "mean_variance", "quantile", "lds", "c_mixup", "regmixup"]


@dataclass(frozen=True)
class SharedModel(ModelConfig):
    """What the models of all variants share: the variants set head and loss."""

    head: Suppress[Fixed[Literal["regression"]]] = "regression"
    loss: Suppress[Fixed[Literal["mae"]]] = "mae"


@dataclass(frozen=True)
class SharedTraining(TrainingConfig):
    """The protocol of all variants: the variants set mixing and weights."""

    mix: Suppress[Fixed[Literal["none"]]] = "none"
    rare_ages: Suppress[Fixed[Literal["none"]]] = "none"


@dataclass(frozen=True)
class HeadsConfig(CrossValidationConfig):
    """Heads on the same folds.

    Args:
        variants: The heads, losses, weights and mixings to train. Defaults to all.
        model: What the models share.
        training: The protocol that they share.
    """

    model: SharedModel = field(default_factory=SharedModel)
    training: SharedTraining = field(default_factory=SharedTraining)
    variants: Annotated[tuple[Variant, ...], MinLen(1), Distinct] = get_args(Variant)


def get_config() -> HeadsConfig:
    """A small network from scratch, three folds."""
    return HeadsConfig(
        backbones=("resnet10",),
        model=SharedModel(weights="none", dropout=0.2),
        pages=PageSettings(shorter_side=None, patch_size=256, stride=256, image_size=96),
        training=SharedTraining(
            frozen=PhaseConfig(epochs=0, learning_rate=1e-3),
            fine_tune=PhaseConfig(epochs=8, learning_rate=1e-3, unfreeze=1.0, schedule="cosine", warmup=1),
        ),
        folds=FoldsConfig(count=3),
    )


def variant(config: HeadsConfig, name: Variant) -> CrossValidationConfig:
    """The configuration of one variant: a regression loss, a head, weights for rare ages, or a batch policy."""
    model: dict = {}
    training: dict = {}
    if name in ("mae", "mse", "huber"):
        model = {"loss": name}
    elif name == "lds":
        training = {"rare_ages": name}
    elif name in ("c_mixup", "regmixup"):
        training = {"mix": name, "views": "inf"}
    else:
        model = {"head": name}
    shared = {each.name: getattr(config, each.name) for each in fields(CrossValidationConfig)}
    shared["model"] = ModelConfig(**vars(config.model) | model)
    shared["training"] = TrainingConfig(**vars(config.training) | training)
    return CrossValidationConfig(**shared)


def experiment(config: HeadsConfig) -> Path:
    from age_keras.evaluation.report.write import write_report
    from age_keras.training.crossval import fold_parts
    from age_keras.training.one_training import gather
    from age_keras.training.study import open_study
    from age_keras.training.train_all import train_all

    study = open_study(config, "heads")
    trainings = []
    parts = fold_parts(study)
    for name in config.variants:
        named = [replace(part, label=f"{name}-{part.label}", repeat=name) for part in parts]
        trainings += [(backbone, part) for backbone in config.backbones for part in named]
        train_all(study.with_config(variant(config, name)), named)
    gather(study, trainings)
    return write_report(study.run.path, "Age from handwriting: heads", study.image, notes=study.notes())


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
