"""Keras Tuner's tuner, with a loop that waits instead of spinning and a state that is never half written."""

import time
from collections.abc import Callable

import keras_tuner
from keras_tuner.engine.base_tuner import BaseTuner
from keras_tuner.engine.trial import TrialStatus

from tuning.cross_validated import CrossValidated

IDLE_SECONDS = 1.0


class CrossValidationTuner(BaseTuner):
    """Runs the trials that an oracle asks for; alone, or as a worker of a chief (Keras Tuner's environment variables).

    Args:
        oracle: from `make_oracle`.
        hypermodel: what a trial is.
        directory: the search's folder.
    """

    def __init__(self, oracle: keras_tuner.Oracle, hypermodel: CrossValidated, directory: str):
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
