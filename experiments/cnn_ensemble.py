"""Five CNNs, trained one by one, then combined with weights learned on the validation pages.

    python -m experiments.cnn_ensemble --data DIR

The published study's ensembles with an honest choice: every way to combine, from the plain mean to least absolute
deviation and stacking, is judged by writer-grouped cross-validation of the validation pages, and the one that wins is
scored once. The study, on HHD-Age's official split: MAE 2.73 with grid-searched weights, while answering 15 for every
page has 2.65; expect about as much. Published predictions can be combined without any training: `age-keras ensemble
VAL.csv TEST.csv`. One GPU: about an hour with ImageNet weights.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig
from age_keras.errors import InputError
from experiments.cross_validation import STUDY


def get_config() -> HoldoutConfig:
    """The study's five CNNs with ImageNet weights."""
    return HoldoutConfig(backbones=STUDY)


def experiment(config: HoldoutConfig) -> Path:
    if len(config.backbones) < 2:
        raise InputError(
            f"An ensemble needs two backbones or more. Received: --backbones {' '.join(config.backbones)}."
        )
    from age_keras.evaluation.ensembles.run import add_ensemble
    from age_keras.evaluation.report.write import write_report
    from age_keras.predictions.table import write_predictions
    from age_keras.training.holdout import holdout_part
    from age_keras.training.study import open_study
    from age_keras.training.train_all import train_all

    study = open_study(config, "cnn_ensemble")
    predictions, notes = add_ensemble(train_all(study, [holdout_part(study)]))
    write_predictions(study.run.file("predictions.csv"), predictions)
    return write_report(
        study.run.path, "Age from handwriting: an ensemble of CNNs", study.image, notes=[*notes, *study.notes()]
    )


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
