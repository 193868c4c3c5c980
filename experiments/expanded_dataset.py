"""Does more data help? One model trained with and one without an extra set of pages, scored on the same pages.

    python -m experiments.expanded_dataset --data DIR --extra DIR

The study's third experiment (882 pages against 1,048). Split, test pages, seed and protocol are the same for both
models; extra pages are only trained on, and an extra page by a writer of the test or validation part is left out, as
is one that the first set already holds. The report's table has both models side by side; `age-keras compare` gives the
significance of the difference. Without --data and --extra, two synthetic cohorts show how it works.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig, SerialRuntime


@dataclass(frozen=True)
class ExpandedConfig(HoldoutConfig):
    """With and without extra pages.

    Args:
        extra: Folder of further pages with ages. Defaults to None, another synthetic cohort.
        extra_labels: Its label file, if it is not found by itself.
        extra_writers: Whether the same writer's name in both sets means the `same` person, or an`other` one.
            Defaults to `same`; the writers of two synthetic cohorts are others.
        runtime: The machine.
    """

    runtime: SerialRuntime = field(default_factory=SerialRuntime)
    extra: Path | None = None
    extra_labels: Path | None = None
    extra_writers: Literal["same", "other"] = "same"

    def __post_init__(self):
        super().__post_init__()
        if self.extra is None:
            self.refuse_unused("without --extra", "extra_labels", "extra_writers")


def get_config() -> ExpandedConfig:
    """ResNet50 with ImageNet weights."""
    return ExpandedConfig(backbones=("resnet50",))


def experiment(config: ExpandedConfig) -> Path:
    from age_keras.data.table.join import join_samples
    from age_keras.data.table.samples import read_samples
    from age_keras.evaluation.report.write import write_report
    from age_keras.training.holdout import holdout_with_extra
    from age_keras.training.study import open_samples, open_study
    from age_keras.training.train_all import train_all

    first, writers = open_samples(config), config.extra_writers
    if config.extra is None:
        extra, writers = open_samples(replace(config, data=None, labels=None, seed=config.seed + 1)), "other"
    else:
        extra = read_samples(config.extra, config.extra_labels, config.columns, config.skip_bad)
    joined, is_extra = join_samples(first, extra, writers)
    study = open_study(config, "expanded_dataset", joined)
    is_extra = is_extra[joined.table["ImageID"].isin(study.table["ImageID"]).to_numpy()]
    without, with_extra = holdout_with_extra(study, is_extra)
    train_all(study, [without, with_extra])
    return write_report(
        study.run.path,
        "Age from handwriting: does an extra set of pages help?",
        study.image,
        notes=[
            f"{int(with_extra.learn.sum())} training pages with the extra set (models named `-extra`), "
            f"{int(without.learn.sum())} without.",
            *study.notes(),
        ],
    )


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
