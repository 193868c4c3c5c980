"""The wide search: head, loss, optimizer, weight decay, augmentation, views, pooling and backbone, with the basic ones.

    python -m experiments.hp_tuning_wide --data DIR

Twelve hyper-parameters, one of them the backbone, and 60 trials by Hyperband whose resource are folds: most
configurations on the first two or three, the better ones on all five. The choice is measured once on writers that no
trial saw. About 150 trainings: a day on a GPU; docs/scaling.md has several machines.
"""

import sys
from pathlib import Path

from age_keras.cli import run_experiment
from experiments.cross_validation import STUDY
from tuning.search import search
from tuning.search_config import SearchConfig


def get_config() -> SearchConfig:
    """Hyperband over the wide space, all backbones in one search."""
    return SearchConfig(backbones=STUDY, space="wide", oracle="hyperband", trials=60)


def experiment(config: SearchConfig) -> Path:
    return search(config, "hp_tuning_wide")


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
