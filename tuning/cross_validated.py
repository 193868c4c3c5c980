"""A Keras Tuner hypermodel whose `fit` is a cross-validation: fold after fold, resumable, raced, recorded.

It knows nothing of what is trained; `hypermodel.py` and `characters/hypermodel.py` do.
"""

import datetime
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner

from tuning.failures import RefusedError, cause_of
from tuning.objective import OBJECTIVES, race
from tuning.search_config import SearchSettings
from tuning.trials import COMPLETE, CUT, ENDED, FAILED, LOST, TrialRecord, trials_of

MOST_STARTS = 3
"""A trial that was started so often and got no further each time is given up: what kills it is the trial itself.

A start counts after the first where it follows the death of its worker. A search that somebody stopped and started
again says nothing of the trial.
"""

OnEpoch = Callable[[int, dict], None]


class CrossValidated(keras_tuner.HyperModel):
    """A hypermodel judged on folds. A subclass says what the space is and how one fold is trained.

    Args:
        run: the search's folder.
        config: the search's settings: its objective, folds, race, oracle and how many trials keep their models.
        worker: the name under which trials are recorded.

    Attributes:
        on_event: called with the record, and with the logs of an epoch or None, when an epoch, a fold or a trial ends.
        ahead: gives at most so many trials that will come next, where that is known; for what can be shared with them.
        restarted: whether this process takes the place of a worker that died. For its first trial.
        careful: whether the trial's process has died before: its state is worth saving after every epoch.
    """

    def __init__(self, run: Path, config: SearchSettings, worker: str = "tuner0"):
        super().__init__()
        self.trials, self.objective = trials_of(run, config), OBJECTIVES[config.objective]
        self.folds, self.keep, self.worker = config.folds, config.keep, worker
        # Hyperband cuts by itself.
        self.race_strength = 0.0 if config.oracle == "hyperband" else config.race
        self.on_event: Callable[[TrialRecord, dict | None], None] = lambda record, logs: None
        self.ahead: Callable[[int], list[keras_tuner.HyperParameters]] = lambda count: []
        self.restarted = self.careful = False

    def space(self, hp: keras_tuner.HyperParameters) -> Any:
        """Declares the hyper-parameters, and returns the configuration that they make."""
        raise TypeError(f"{type(self).__name__} must define `space`.")

    def fit_fold(self, hp: keras_tuner.HyperParameters, fold: int, folder: Path, on_epoch: OnEpoch) -> dict[str, Any]:
        """Trains and scores one fold.

        Args:
            hp: with the trial's values.
            fold: from 1.
            folder: the trial's, for the state of a running fold, `fold<N>.npz`, and for its model, `fold<N>.keras`.
                The state is deleted when the fold is recorded.
            on_epoch: to be called after each epoch with (epoch, logs).

        Returns:
            The fold's figures, the objective's among them, `epochs` and `curve`.
        """
        raise TypeError(f"{type(self).__name__} must define `fit_fold`.")

    def declared(self) -> keras_tuner.HyperParameters:
        """All hyper-parameters of the space."""
        hp = keras_tuner.HyperParameters()
        self.space(hp)
        return hp

    def fit(
        self, hp: keras_tuner.HyperParameters, model: Any = None, trial_id: str = "0", **_: Any
    ) -> dict[str, float]:
        """Cross-validates one configuration, or goes on with it.

        Args:
            hp: with the trial's values.
            model: not used: every fold trains a fresh model.
            trial_id: the trial's name.

        Returns:
            `objective` and `sd`, over the folds.

        Raises:
            FailedTrialError: with the reason, which is also in the record.
        """
        record = self.trials.read(trial_id) or TrialRecord(trial_id, dict(hp.values))
        if record.status not in ENDED:
            self._start(record, hp)
            try:
                self._run_folds(record, hp)
            except Exception as error:  # Whatever a configuration does, the search goes on.
                record.cause, record.reason = cause_of(error)
                record.status = FAILED
            self._end(record)
        if record.status == FAILED:
            raise keras_tuner.errors.FailedTrialError(record.reason)
        return {"objective": record.score, "sd": record.sd or 0.0}

    def _start(self, record: TrialRecord, hp: keras_tuner.HyperParameters) -> None:
        record.wanted = int(hp.values.get("tuner/epochs") or self.folds)  # Hyperband's epochs are folds here.
        died = record.worker == LOST or (self.restarted and record.worker == self.worker)
        self.restarted = False
        record.starts = record.starts + 1 if died else 1
        self.careful = record.starts > 1
        record.worker = self.worker
        record.started = record.started or datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        self.trials.write(record)
        self.on_event(record, None)

    def _run_folds(self, record: TrialRecord, hp: keras_tuner.HyperParameters) -> None:
        if record.starts > MOST_STARTS:
            fold, epoch = record.furthest
            raise RefusedError(
                "killed",
                f"its process died {record.starts - 1} times at fold {fold}, epoch {epoch}: probably out of memory",
            )
        known = self.trials.finished_folds(record.values, record.trial)
        for fold in range(len(record.folds) + 1, record.wanted + 1):
            if fold in known:
                record.folds.append(known[fold])
                self.trials.adopt_model(record.trial, fold, known[fold]["reused"])
            else:
                record.folds.append(self._train_fold(record, hp, fold))
            record.starts = 1
            if self._cut(record):
                return
            self.trials.write(record)
            self.trials.forget_state(record.trial, fold)
            self.on_event(record, None)
        record.status = COMPLETE

    def _train_fold(self, record: TrialRecord, hp: keras_tuner.HyperParameters, fold: int) -> dict[str, Any]:
        def on_epoch(epoch: int, logs: dict) -> None:
            if not math.isfinite(logs.get("loss", 0.0)):
                raise RefusedError("nan", f"the loss became {logs['loss']} in fold {fold}, epoch {epoch + 1}")
            if [fold, epoch + 1] > record.furthest:
                record.furthest, record.starts = [fold, epoch + 1], 1
                self.trials.write(record)
            self.on_event(record, logs)

        begin = datetime.datetime.now()
        figures = self.fit_fold(hp, fold, self.trials.folder_of(record.trial), on_epoch)
        value = figures[self.objective.name]
        if not math.isfinite(value):
            raise RefusedError("nan", f"{self.objective.name} is {value} in fold {fold}")
        return {"fold": fold, **figures, "seconds": (datetime.datetime.now() - begin).total_seconds()}

    def _cut(self, record: TrialRecord) -> bool:
        others = [other for other in self.trials.ranked() if other.trial != record.trial]
        best = others[0] if others else None
        values = record.column(self.objective.name)
        column = best.column(self.objective.name) if best else None
        cut, estimate = race(values, column, self.race_strength, self.objective.sign)
        if best and cut and len(values) < record.wanted:
            record.status, record.objective, record.sd = CUT, estimate, None
            record.reason = (
                f"after {len(values)} of {record.wanted} folds {estimate:.3g} was to be expected, "
                f"against {best.score:.3g} of trial {best.trial}"
            )
            return True
        return False

    def _end(self, record: TrialRecord) -> None:
        self.trials.write(record)
        self.trials.keep_best(self.keep)
        self.on_event(record, None)
