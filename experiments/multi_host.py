"""One age model trained by several machines at once, each taking a part of every batch.

    on the first:   python -m experiments.multi_host --data DIR --hosts 10.0.0.5:9001 10.0.0.6:9001 --index 0
    on the second:  python -m experiments.multi_host --data DIR --hosts 10.0.0.5:9001 10.0.0.6:9001 --index 1

The same command on every machine, with its own --index and the same data and runs folders (a network file system). The
result is that of one machine on the whole batches, whose size must be a multiple of the number of hosts (of their
GPUs, where they have more than one each). Phases, learning rates, early stopping and augmented copies are those of the
other experiments; the frozen layers are computed in every step, and what hosts cannot do is refused. Re-run the same
commands on all machines to resume from the last whole epoch. The first host writes the report. Folds, backbones and
trials spread better as trainings of their own: docs/scaling.md says when this pays.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval, MinLen
from tyro.conf import Fixed, Suppress

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig, SerialRuntime, TrainingConfig
from age_keras.config.settings import Count, Distinct
from age_keras.errors import InputError


@dataclass(frozen=True)
class HostsTraining(TrainingConfig):
    """The protocol on several hosts: without mixed batches, weights for rare ages and heads of several folds."""

    mix: Suppress[Fixed[Literal["none"]]] = "none"
    rare_ages: Suppress[Fixed[Literal["none"]]] = "none"
    batched_heads: Suppress[Fixed[Literal[False]]] = False


@dataclass(frozen=True)
class HostsRuntime(SerialRuntime):
    """The machines: each trains from pixels, and saves after each epoch.

    Args:
        precision: `float32`, or `mixed_bfloat16` (TPUs, newer GPUs and CPUs). Defaults to `float32`.
        tensorboard: Whether TensorBoard logs are written. Defaults to True.
    """

    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    xla: Suppress[Fixed[Literal[False]]] = False
    strategy: Suppress[Fixed[Literal["none"]]] = "none"
    prefix_cache: Suppress[Fixed[Literal[True]]] = True
    prefix_precision: Suppress[Fixed[Literal["float32"]]] = "float32"
    prefix_compute: Suppress[Fixed[Literal["float32"]]] = "float32"
    save_every: Suppress[Fixed[Annotated[float, Interval(ge=60, le=60)]]] = 60.0


@dataclass(frozen=True)
class MultiHostConfig(HoldoutConfig):
    """One model on several machines.

    Args:
        training: The training protocol.
        runtime: The machines.
        hosts: `HOST:PORT` of each machine, in the same order on all.
        index: Place of this machine among the hosts, from 0. Defaults to 0.
    """

    training: HostsTraining = field(default_factory=HostsTraining)
    runtime: HostsRuntime = field(default_factory=HostsRuntime)
    hosts: Annotated[tuple[str, ...], MinLen(1), Distinct] = ("127.0.0.1:9001",)
    index: Count = 0

    def __post_init__(self):
        super().__post_init__()
        if len(self.backbones) != 1:
            raise InputError(
                "Several hosts train one model: give one name to --backbones. "
                f"Received: --backbones {' '.join(self.backbones)}."
            )
        if self.training.batch_size % len(self.hosts):
            raise InputError(
                f"A batch of {self.training.batch_size} cannot be divided among {len(self.hosts)} hosts: give another "
                f"--training.batch-size. Received: --training.batch-size {self.training.batch_size}."
            )
        if self.index >= len(self.hosts):
            raise InputError(
                f"--index is a place in --hosts, from 0 to {len(self.hosts) - 1}. Received: --index {self.index}."
            )


def get_config() -> MultiHostConfig:
    """ResNet50 with ImageNet weights, on this machine alone."""
    return MultiHostConfig()


def experiment(config: MultiHostConfig) -> Path:
    from age_keras.evaluation.report.write import write_report
    from age_keras.training.distributed.multi_host import join_hosts, train_hosted
    from age_keras.training.holdout import holdout_part
    from age_keras.training.one_training import gather, record_training
    from age_keras.training.study import open_study

    # The number of machines changes nothing of the result, so it does not name the run.
    one = replace(config, hosts=MultiHostConfig.hosts, index=0, fresh=config.fresh and config.index == 0)
    if config.index == 0:
        open_study(one, "multi_host")  # The others cannot join before, and find all of it done.
    strategy = join_hosts(config.hosts, config.index)
    study = open_study(replace(one, fresh=False), "multi_host")
    part, state = holdout_part(study), study.run.file("state", "hosts.npz")
    trained = train_hosted(study, part, strategy, config.hosts, config.index, state)
    if config.index:
        done = study.run.file("state", f"host{config.index}.md")
        done.write_text("# Done. The first host writes the report.\n", encoding="utf-8")
        return done
    training = (config.backbones[0], part)
    record_training(study, *training, trained)
    gather(study, [training])
    state.unlink(missing_ok=True)
    return write_report(study.run.path, "Age from handwriting: several hosts", study.image, notes=study.notes())


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
