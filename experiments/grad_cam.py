"""Where a trained model sees age: the best and worst pages of each age band, and which maps deserve belief.

    python -m experiments.grad_cam --run runs/demo/<run>

Reads the run's predictions.csv and checkpoints, and writes into `<run>/grad_cam/`: `report.md` (gallery, a table of the
pages, a table of how faithful each method's maps are), a PNG and an interactive HTML of every page shown, and the same
pictures as TensorBoard images beside the run's curves. A few minutes for the demo's run on two cores. Expect Grad-CAM
of two layers to be believed for a small residual network, and SmoothGrad not.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.explain import GradCamConfig
from age_keras.errors import InputError


def get_config() -> GradCamConfig:
    return GradCamConfig()


def experiment(config: GradCamConfig) -> Path:
    if config.run is None or not config.run.is_dir():
        raise InputError(f"There is no run {config.run or ''}: give a folder by --run, such as runs/demo/1a2b3c4d.")
    from experiments.grad_cam_report import explain_run

    return explain_run(config)


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
