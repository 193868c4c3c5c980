"""Running the trials of a search, whatever they train: Keras Tuner's tuner, the oracle in the run's folder, the end.

The tuner's loop waits instead of spinning, and its state is never half written.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import TrialStatus

from age_keras.errors import InputError
from age_keras.run.folder import Run
from tuning.cross_validated import CrossValidated
from tuning.oracles import make_oracle, total_folds
from tuning.progress import SearchBar
from tuning.search_config import SearchSettings

log = logging.getLogger("age_keras")
Report = TypeVar("Report", Path, Path | None)
IDLE_SECONDS = 1.0


class CrossValidationTuner(BaseTuner):
    """Runs the trials that an oracle asks for; alone, or as a worker of a chief (Keras Tuner's environment variables).

    Args:
        oracle: from `make_oracle`.
        hypermodel: what a trial is.
        directory: the search's folder.
    """

    def __init__(self, oracle: keras_tuner.Oracle, hypermodel: CrossValidated, directory: Path):
        super().__init__(oracle, hypermodel, directory=str(directory), project_name="oracle")
        if not self._is_worker():
            for tuner_id in [name for name in self.oracle.ongoing_trials if name != self.tuner_id]:
                self.oracle.release(tuner_id)  # Begun by workers that are no more.

    def search(self, until: Callable[[], bool] = lambda: False) -> None:
        """Runs trials until the oracle has no more.

        Args:
            until: asked before each trial; True ends the search.
        """
        while not until():
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return
            if trial.status == TrialStatus.IDLE:
                time.sleep(IDLE_SECONDS)
                continue
            try:
                result = self.hypermodel.fit(trial.hyperparameters, trial_id=trial.trial_id)
            except keras_tuner.errors.FailedTrialError:
                trial.status = TrialStatus.FAILED
            else:
                self.oracle.update_trial(trial.trial_id, result)
                trial.status = TrialStatus.COMPLETED
            self.oracle.end_trial(trial)

    def save(self) -> None:
        """The oracle saves itself; a tuner has no state of its own."""

    def reload(self) -> None:
        if not self._is_worker():
            self.oracle.reload()

    def _get_tuner_fname(self) -> str:
        return str(self.oracle.path)

    def _populate_initial_space(self) -> None:
        """The space is declared beforehand, without building a model."""


class StoppedSearchError(Exception):
    """A search that stopped because three trials in a row failed for the same cause."""


def oracle_of(run: Path, config: SearchSettings, hypermodel: CrossValidated):
    """The oracle of a search, as it stands in the run's folder or fresh."""

    def failure(trial: str) -> tuple[str, str]:
        record = hypermodel.trials.read(trial)
        return (record.cause or "", record.reason or "") if record else ("unknown", "no record")

    return make_oracle(config, run / "oracle.json", hypermodel.declared(), hypermodel.objective.direction, failure)


def run_trials(run: Path, config: SearchSettings, hypermodel: CrossValidated, progress: bool = True) -> None:
    """Runs all trials in this process, or resumes them.

    Raises:
        StoppedSearchError: three trials in a row failed for the same cause.
    """
    oracle = oracle_of(run, config, hypermodel)
    bar = SearchBar(hypermodel.trials, total_folds(oracle, config.folds), progress)
    hypermodel.on_event = bar.on_event
    try:
        tuner = CrossValidationTuner(oracle, hypermodel, run)
        hypermodel.ahead = oracle.ahead
        tuner.search()
    finally:
        bar.close()
    if oracle.stopped_because:
        raise StoppedSearchError(oracle.stopped_because)
    hypermodel.trials.keep_best(hypermodel.keep, over=True)


def with_verdict(run: Path, trials: Callable[[], None], end: Callable[[], Report]) -> Report:
    """Runs the trials, then the end; a stopped search leaves its report, and is an error that names the cause.

    Raises:
        InputError: the search stopped.
    """
    try:
        trials()
    except StoppedSearchError as stopped:
        report_before_an_error(run)
        raise InputError(
            f"The search stopped because three trials in a row failed with the same cause: {stopped}. "
            f"Fix the cause and re-run the command to resume; the trials are in {run / 'trials'}."
        ) from None
    return end()


def report_before_an_error(run: Path) -> None:
    """Writes the report of a search that ends with an error; what prevents it is logged, and never hides that error."""
    try:
        from tuning.report import write_search_report

        write_search_report(run)
    except Exception as error:  # Whatever it is, the error that follows matters more.
        said = " ".join(str(error).split())
        log.warning("The report in %s cannot be written: %s: %s", run, type(error).__name__, said)


def allow_more_trials(config: SearchSettings, experiment: str) -> None:
    """A search may be made longer: the number of trials in its `config.json` follows the command."""
    run = Run(config.runs / experiment / config.run_name)
    if (run.path / "config.json").exists() and not config.fresh:
        run.write_json("config.json", {**run.read_json("config.json"), "trials": config.trials})
