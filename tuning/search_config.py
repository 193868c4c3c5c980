"""What a search is asked for. Loads neither Keras nor Keras Tuner, so that a typo is answered at once."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from age_keras.config.age import AgeConfig, SerialRuntime, SomePart, TrainingConfig
from age_keras.config.serialization import digest
from age_keras.config.settings import Count, Positive, Seed, Settings
from age_keras.errors import InputError


@dataclass(frozen=True, kw_only=True)
class SearchSettings(Settings):
    """What every search has, whatever its trials train.

    Attributes:
        oracle: What proposes trials. `hyperband` trains the first folds of most trials, and all folds of the best.
        trials: Maximum number of trials. A larger number continues the same search. 0 tries the whole grid, or runs
            Hyperband's brackets once.
        folds: Number of folds of every trial.
        race: How soon bad trials are stopped, in standard errors (see `tuning.objective`). A larger number stops them
            later, 0 never. Hyperband stops trials by its own rule.
        keep: Number of best trials whose models stay on disk.
    """

    oracle: Literal["random", "hyperband", "bayesian", "grid"] = "random"
    trials: Count = 20
    folds: Annotated[int, Ge(2)] = 5
    race: Annotated[float, Ge(0)] = 1.0
    keep: Count = 1
    seed: Seed = 0
    objective: str = ""
    runs: Path = Path("runs")
    run: str | None = None
    fresh: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.trials == 0 and self.oracle in ("random", "bayesian"):
            raise InputError(f"`trials` must be at least 1 for the {self.oracle} oracle. Received: trials=0.")
        if self.oracle == "hyperband" and self.race:
            self.refuse_unused("with oracle=hyperband, which stops trials by its own rule", "race")

    @property
    def run_name(self) -> str:
        """The run's name: the same for any number of trials, so that a search can be made longer."""
        return self.run or digest(replace(self, trials=1, run=None, fresh=False, runs=Path("runs")))


@dataclass(frozen=True)
class SearchConfig(SearchSettings, AgeConfig):
    """A search over configurations of age models.

    Attributes:
        training: The protocol. By default the linear heads of a trial's folds train together.
        runtime: The machine of a trial, whose folds train one after another; `--workers` spreads the trials.
        space: The hyper-parameters: `basic` (dropout, learning rate, unfreeze ratio) or `wide` (see `tuning.spaces`).
        objective: What ranks trials, as its mean over the folds: `mae`, `skill` or `band_mae`.
        use_split: Whether the `test` part of the label table's own split is what no trial sees, if it has one.
        test: Fraction of the pages that no trial sees, where the table's split is not used.
        selection_fraction: Fraction of a fold's training pages that choose the epoch.
    """

    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(batched_heads=True))
    runtime: SerialRuntime = field(default_factory=SerialRuntime)
    space: Literal["basic", "wide"] = "basic"
    objective: Literal["mae", "skill", "band_mae"] = "mae"
    use_split: bool = True
    test: SomePart = 0.15
    selection_fraction: SomePart = 0.15


@dataclass(frozen=True)
class ClusterConfig(SearchConfig):
    """A search, and on which machines it runs.

    Attributes:
        workers: Start a chief and this many workers on this machine. 0 runs the search in this process.
        role: `chief` or `worker` of a search over several machines that share the folder `runs`.
        chief: Address of the chief, `HOST:PORT`.
        patience: Seconds for which a worker waits for a chief that does not answer, and a chief for a silent worker.
        worker_name: Name of this worker, different on every machine. Defaults to the host and the process number.
        restarted: This worker replaces one of the same name that died. A trial that kills it three times is given up.
    """

    workers: Count = 0
    role: Literal["alone", "chief", "worker"] = "alone"
    chief: str | None = None
    patience: Positive = 60.0
    worker_name: str | None = None
    restarted: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.role != "alone" and self.workers:
            raise InputError("--workers starts its own chief and workers: leave --role and --chief out.")
        if self.role != "alone":
            _ = self.address  # Refuses what is not an address.
        elif self.chief:
            raise InputError("--chief needs a role: --role chief on the chief's machine, --role worker on the others.")
        if self.role != "worker" and (self.worker_name or self.restarted):
            raise InputError("--worker-name and --restarted belong to a worker: give them with --role worker only.")
        if self.role == "alone" and not self.workers and self.patience != ClusterConfig.patience:
            raise InputError(
                "--patience is for a search with several processes: give --workers, or --role and --chief."
            )

    @property
    def address(self) -> tuple[str, int]:
        """The chief's host and port.

        Raises:
            InputError: `chief` is not `HOST:PORT`.
        """
        host, _, port = (self.chief or "").rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65536:
            raise InputError(
                f"--role {self.role} needs the chief's address, as --chief 10.0.0.5:8787. Received: chief={self.chief}."
            )
        return host, int(port)

    @property
    def search(self) -> SearchConfig:
        """The search alone: what its results depend on."""
        return SearchConfig(**{each.name: getattr(self, each.name) for each in fields(SearchConfig)})

    @property
    def run_name(self) -> str:
        """The same on all machines, whatever their role."""
        return self.search.run_name
