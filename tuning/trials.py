"""The trials of a search: one JSON file each, written atomically after every fold; the truth about what was done.

    <run>/trials/07.json   {"trial", "values", "status", "reason", "cause", "folds": [...], "objective", "sd", ...}
    <run>/trials/07/       a running fold's state, and the models of the best trials

Whatever is killed, a finished fold stays finished: who takes the trial up again reads the file and goes on from there.
"""

import csv
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from age_keras.files import atomic_write, write_json
from tuning.objective import OBJECTIVES, Objective, mean_and_sd
from tuning.search_config import SearchSettings

RUNNING, COMPLETE, CUT, FAILED = "running", "complete", "cut", "failed"
ENDED = (COMPLETE, CUT, FAILED)
LOST = "(lost)"
"""Stands for the name of a worker that died with its trial and did not come back."""


@dataclass
class TrialRecord:
    """What is known of a trial.

    Attributes:
        trial: its name.
        values: hyper-parameters by name; keys with a slash are the oracle's own.
        status: `running`, `complete` (all its folds), `cut` or `failed`.
        reason: in a sentence, why it was cut or failed.
        cause: of a failure, the kind, by which failures in a row are compared.
        folds: a dictionary for each finished fold: `fold`, figures, `seconds`, `epochs`, `curve` (validation error of
            each epoch), `reused` (the trial that trained it, where it was another).
        wanted: how many folds it has when it is whole.
        objective: mean over folds; of a cut trial, the estimate of it.
        sd: over its folds.
        starts: how often it was started, by the deaths of its worker, without getting any further.
        furthest: the fold and epoch it has reached.
        worker: who ran it last; `LOST` where the chief noticed that worker's death.
        started: when, in ISO 8601.
    """

    trial: str
    values: dict[str, Any]
    status: str = RUNNING
    reason: str | None = None
    cause: str | None = None
    folds: list[dict[str, Any]] = field(default_factory=list)
    wanted: int = 0
    objective: float | None = None
    sd: float | None = None
    starts: int = 0
    furthest: list[int] = field(default_factory=lambda: [0, 0])
    worker: str = ""
    started: str = ""

    @property
    def parameters(self) -> dict[str, Any]:
        """The hyper-parameters without the oracle's own entries."""
        return {name: value for name, value in self.values.items() if "/" not in name}

    @property
    def score(self) -> float:
        """The objective, of a trial that has one: a complete or a stopped one."""
        assert self.objective is not None
        return self.objective

    @property
    def seconds(self) -> float:
        """Spent on the folds that it trained itself."""
        return sum(fold["seconds"] for fold in self.folds if not fold.get("reused"))

    def column(self, name: str) -> list[float]:
        """A figure of the folds, in the order in which they were done."""
        return [fold[name] for fold in self.folds]


class Trials:
    """The folder of all records of a search.

    Args:
        folder: usually `<run>/trials`.
        objective: what ranks them.
        folds: of a whole trial.
    """

    def __init__(self, folder: Path, objective: Objective, folds: int):
        self.folder, self.objective, self.folds = Path(folder), objective, folds

    def path(self, trial: str) -> Path:
        return self.folder / f"{trial}.json"

    def folder_of(self, trial: str) -> Path:
        """The folder of a trial's state and models; it is made."""
        folder = self.folder / trial
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def forget_state(self, trial: str, fold: int) -> None:
        """Deletes the state of a fold that is in the record."""
        (self.folder / trial / f"fold{fold}.npz").unlink(missing_ok=True)

    def read(self, trial: str) -> TrialRecord | None:
        """A trial's record, or None where it has none."""
        try:
            return TrialRecord(**json.loads(self.path(trial).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def write(self, record: TrialRecord) -> None:
        """Writes a record, with its mean and spread over the folds."""
        if record.folds and record.status != CUT:
            record.objective, record.sd = mean_and_sd(record.column(self.objective.name))
        write_json(self.path(record.trial), asdict(record))

    def mark_lost(self, trial: str) -> None:
        """Records that a trial's worker died: the next start counts, whoever makes it."""
        record = self.read(trial)
        if record and record.status not in ENDED:
            record.worker = LOST
            self.write(record)

    def all(self) -> list[TrialRecord]:
        """All records, in the order of their names."""
        return [record for path in sorted(self.folder.glob("*.json")) if (record := self.read(path.stem))]

    def ranked(self, records: Sequence[TrialRecord] | None = None) -> list[TrialRecord]:
        """The trials that ran all folds, the best first; of equals the first. `records` are read where not given."""
        records = self.all() if records is None else records
        whole = [r for r in records if r.status == COMPLETE and len(r.folds) == self.folds]
        return sorted(whole, key=lambda r: (self.objective.sign * r.score, r.trial))

    def finished_folds(self, values: dict[str, Any], but: str) -> dict[int, dict[str, Any]]:
        """Folds that another trial of the same hyper-parameters has trained, by number.

        So Hyperband's promoted trials go on from the folds of the round before, and no oracle pays twice.
        """
        wanted = {name: value for name, value in values.items() if "/" not in name}
        found: dict[int, dict[str, Any]] = {}
        for record in self.all():
            if record.trial != but and record.parameters == wanted:
                for fold in record.folds:
                    found.setdefault(fold["fold"], {"reused": record.trial, **fold})
        return found

    def adopt_model(self, trial: str, fold: int, source: str) -> None:
        """Gives a trial the model of a fold that another one trained, where there is one: a second name of the file."""
        kept, wanted = self.folder / source / f"fold{fold}.keras", self.folder_of(trial) / f"fold{fold}.keras"
        wanted.unlink(missing_ok=True)
        try:
            os.link(kept, wanted)
        except FileNotFoundError:
            return
        except OSError:  # A file system without second names.
            shutil.copy2(kept, wanted)

    def keep_best(self, count: int, over: bool = False) -> None:
        """Deletes the models of ended trials, but those of the best `count`.

        Under Hyperband a later round may go on with any trial of an earlier one, so their models stay while it runs.

        Args:
            count: of how many trials the models stay.
            over: the search has ended. Made longer later, it lacks the models of the folds that it takes over then.
        """
        records = self.all()
        keep = {record.trial for record in self.ranked(records)[:count]}
        if count and not over:
            keep |= {r.trial for r in records if r.status == COMPLETE and len(r.folds) < self.folds}
        for record in records:
            if record.status in ENDED and record.trial not in keep:
                shutil.rmtree(self.folder / record.trial, ignore_errors=True)

    def write_table(self, path: Path) -> None:
        """`trials.csv`: a row for each trial, the best first, then the cut, the failed and the running ones."""
        records = self.all()
        rank = {record.trial: place for place, record in enumerate(self.ranked(), start=1)}
        names = sorted({name for record in records for name in record.parameters})
        records.sort(key=lambda r: (rank.get(r.trial, len(rank) + 1), r.status, r.trial))
        header = ["trial", "rank", "status", "objective", "sd", "folds", "seconds", "worker", *names]
        header += [f"fold{fold}" for fold in range(1, self.folds + 1)] + ["reason"]
        with atomic_write(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for record in records:
                writer.writerow(self._row(record, rank.get(record.trial, ""), names))

    def _row(self, record: TrialRecord, rank: int | str, names: Sequence[str]) -> list:
        by_fold = {fold["fold"]: fold[self.objective.name] for fold in record.folds}
        return [
            record.trial,
            rank,
            record.status,
            _rounded(record.objective),
            _rounded(record.sd),
            len(record.folds),
            round(record.seconds, 1),
            record.worker,
            *(record.parameters.get(name, "") for name in names),
            *(_rounded(by_fold.get(fold)) for fold in range(1, self.folds + 1)),
            record.reason or "",
        ]


def trials_of(run: Path, config: SearchSettings) -> Trials:
    """The records of the search in a run's folder."""
    return Trials(run / "trials", OBJECTIVES[config.objective], config.folds)


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 4)
