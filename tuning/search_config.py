"""What a search is asked for."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from age_keras.config.age import AgeConfig, TrainingConfig
from age_keras.config.serialization import digest
from age_keras.errors import InputError
from tuning.objective import ObjectiveName
from tuning.oracles import OracleName


@dataclass(frozen=True)
class SearchConfig(AgeConfig):
    """A search over configurations of age models.

    Attributes:
        training: the protocol; by default the linear heads of a trial's folds train together.
        space: `mission` (dropout, learning rate, unfreeze ratio) or `wide` (see `tuning.spaces`).
        oracle: what proposes trials; `hyperband` gives a trial few folds first and more if it is promising.
        trials: at most so many; a larger number goes on with the same search. 0: as many as a grid has.
        folds: writer-disjoint, of every trial.
        objective: mean over the folds of `mae`, `skill` or `band_mae`.
        race: how soon bad trials are cut (`tuning.objective`); larger is later, 0 never. Hyperband cuts by itself.
        keep: of how many best trials the folds' models stay on disk.
    """

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(batched_heads=True))
    space: Literal["mission", "wide"] = "mission"
    oracle: OracleName = "random"
    trials: int = 20
    folds: int = 5
    objective: ObjectiveName = "mae"
    race: float = 1.0
    keep: int = 1

    def __post_init__(self):
        super().__post_init__()
        if self.runtime.workers != 1:
            raise InputError("A search has workers of its own: give --workers instead of --runtime.workers.")
        refuse_bad_search(self.trials, self.folds, self.race, self.keep, self.oracle)

    @property
    def run_name(self) -> str:
        """The run's name: the same for any number of trials, so that a search can be made longer."""
        same = replace(self, trials=1, run=None, fresh=False, runs=Path("runs"))
        return self.run or digest(same)


@dataclass(frozen=True)
class ClusterConfig(SearchConfig):
    """A search, and on which machines.

    Attributes:
        workers: start a chief and so many workers on this machine; 0 searches in this process.
        role: `chief` or `worker` of a search over several machines, which share the folder `runs`.
        chief: `HOST:PORT` of the chief.
        patience: seconds for which a worker waits for a chief that does not answer, and a chief for a silent worker.
        worker_name: of this worker; another one on every machine. By default host and process number.
        restarted: it takes the place of a worker of its name that died; a trial that kills it three times is given up.
    """

    workers: int = 0
    role: Literal["alone", "chief", "worker"] = "alone"
    chief: str | None = None
    patience: float = 60.0
    worker_name: str | None = None
    restarted: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.workers < 0:
            raise InputError(f"`workers` must not be negative. Received: workers={self.workers}.")
        if self.role != "alone" and not self.chief:
            raise InputError(f"--role {self.role} needs the chief's address: --chief HOST:PORT.")
        if self.role == "alone" and self.chief:
            raise InputError("--chief needs a role: --role chief on the chief's machine, --role worker on the others.")
        if self.role != "alone" and self.workers:
            raise InputError("--workers starts its own chief and workers: leave --role and --chief out.")
        if self.patience <= 0:
            raise InputError(f"`patience` must be positive. Received: patience={self.patience}.")

    @property
    def search(self) -> SearchConfig:
        """The search alone: what its results depend on."""
        return SearchConfig(**{each.name: getattr(self, each.name) for each in fields(SearchConfig)})

    @property
    def run_name(self) -> str:
        """The same on all machines, whatever their role."""
        return self.search.run_name


def refuse_bad_search(trials: int, folds: int, race: float, keep: int, oracle: OracleName) -> None:
    """Raises `InputError` for numbers that no search can have."""
    if folds < 2:
        raise InputError(f"`folds` must be at least 2. Received: folds={folds}.")
    if trials < 0 or (trials == 0 and oracle in ("random", "bayesian")):
        raise InputError(f"`trials` must be at least 1 for the {oracle} oracle. Received: {trials}.")
    if race < 0 or keep < 0:
        raise InputError(f"`race` and `keep` must not be negative. Received: race={race}, keep={keep}.")
