"""One age model trained by several machines at once, each taking its share of every batch.

    on the first:   python -m experiments.multi_host --data DIR --hosts 10.0.0.5:9001 10.0.0.6:9001 --index 0
    on the second:  python -m experiments.multi_host --data DIR --hosts 10.0.0.5:9001 10.0.0.6:9001 --index 1

The same command on every machine, with its own --index and the same data and runs folders (a network file system). The
result is that of one machine on the whole batches, whose size must be a multiple of the number of hosts (of their
GPUs, where they have more than one each). Both phases run their epochs at a constant learning rate; the best epoch on
the validation part is kept. Killed, the same commands on all machines go on from the last whole epoch. The first host
writes the report. Folds, backbones and trials spread better as trainings of their own: docs/scaling.md says when this
pays.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.config.age import HoldoutConfig
from age_keras.errors import InputError
from age_keras.evaluation.report.write import write_report
from age_keras.training.holdout import holdout_part
from age_keras.training.study import open_study


@dataclass(frozen=True)
class MultiHostConfig(HoldoutConfig):
    """One model on several machines.

    Attributes:
        hosts: `HOST:PORT` of each machine, in the same order on all.
        index: which of them this one is, from 0.
    """

    hosts: tuple[str, ...] = ("127.0.0.1:9001",)
    index: int = 0

    def __post_init__(self):
        super().__post_init__()
        if len(self.backbones) != 1:
            raise InputError("Several hosts train one model: give one name to --backbones.")
        if self.training.batch_size % len(self.hosts):
            raise InputError(
                f"A batch of {self.training.batch_size} cannot be shared by {len(self.hosts)} hosts: give another "
                "--training.batch-size."
            )
        if not 0 <= self.index < len(self.hosts):
            raise InputError(f"--index is from 0 to {len(self.hosts) - 1}, a place in --hosts. Received: {self.index}.")


def get_config() -> MultiHostConfig:
    """ResNet50 with ImageNet weights, on this machine alone."""
    return MultiHostConfig()


def experiment(config: MultiHostConfig) -> Path:
    from age_keras.training.distributed.hosted import train_hosted
    from age_keras.training.distributed.multi_host import join_hosts
    from age_keras.training.one_training import gather, record_training

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
        done.write_text("# This host has done its share; the report is written by the first.\n", encoding="utf-8")
        return done
    training = (config.backbones[0], part)
    record_training(study, *training, trained)
    gather(study, [training])
    state.unlink(missing_ok=True)
    return write_report(study.run.path, "Age from handwriting: several hosts", study.image, notes=study.notes())


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
