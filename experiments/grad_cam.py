"""Where a trained model sees age: the best and worst pages of each age band, and which maps to trust.

    python -m experiments.grad_cam --run runs/demo/<run>

Reads the run's predictions.csv and checkpoints, and writes into `<run>/grad_cam/`: `report.md` (gallery, a table of the
pages, a table of how faithful each method's maps are), a PNG and an interactive HTML of every page shown, and the same
pictures as TensorBoard images next to the run's curves. A few minutes for the demo's run on two cores. For a small
residual network, expect Grad-CAM of two layers to pass the tests of faithfulness, and SmoothGrad to fail.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.explain import GradCamConfig
from age_keras.errors import InputError
from age_keras.predictions.table import read_predictions, select
from age_keras.run.folder import Run


def get_config() -> GradCamConfig:
    return GradCamConfig()


def experiment(config: GradCamConfig) -> Path:
    if config.run is None or not config.run.is_dir():
        raise InputError(f"There is no run {config.run or ''}: give a folder by --run, such as runs/demo/1a2b3c4d.")
    table = select(read_predictions(config.run))
    if config.model is not None and config.model not in set(table.Model):
        known = ", ".join(sorted(table.Model.unique()))
        raise InputError(f"{config.run} has no model {config.model!r}: it has {known}.")
    from experiments.grad_cam_report import explain_run

    return explain_run(Run(config.run), table, config)


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
