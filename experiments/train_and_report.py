"""The body of most experiments: every backbone is trained on the parts of a split, then the report is written."""

from pathlib import Path

from age_keras.config.age import CrossValidationConfig, HoldoutConfig
from age_keras.evaluation.report.write import write_report
from age_keras.training.crossval import fold_parts
from age_keras.training.holdout import holdout_part
from age_keras.training.study import open_study
from age_keras.training.train_all import train_all


def on_holdout(config: HoldoutConfig, name: str, title: str) -> Path:
    """Trains on a hold-out split.

    Args:
        config: The experiment's configuration.
        name: The experiment's name, its folder under `runs/`.
        title: The report's title.

    Returns:
        The report's path.
    """
    study = open_study(config, name)
    train_all(study, [holdout_part(study)])
    return write_report(study.run.path, title, study.image, notes=study.notes())


def on_folds(config: CrossValidationConfig, name: str, title: str) -> Path:
    """Trains by cross-validation, otherwise as `on_holdout`."""
    study = open_study(config, name)
    train_all(study, fold_parts(study))
    return write_report(study.run.path, title, study.image, notes=study.notes())
