"""Keras Tuner's oracles, made to survive being killed at any moment.

Keras Tuner writes its state and each trial into several files, none of them atomically, and leaves some of it out: the
order of `GridSearchOracle` (its issue 1055), the random state of `BayesianOptimizationOracle`, that an ended trial has
ended. Here an oracle's whole state is one JSON file, replaced in one step after every change: a search that was killed
goes on with the very trials that an uninterrupted one would have run.
"""

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.oracles import BayesianOptimizationOracle, GridSearchOracle, HyperbandOracle, RandomSearchOracle

from age_keras.errors import InputError
from age_keras.files import write_json
from tuning.search_config import SearchSettings

SAME_FAILURES = 3
HYPERBAND_FACTOR = 2


class Durable(keras_tuner.Oracle):
    """What is added to an oracle: one file of state, no trial lost or run twice, and a stop after like failures.

    Attributes:
        path: the file of its state.
        failure: gives, for the name of a failed trial, its cause and a sentence; read from the trial's record, since
            Keras Tuner's messages between machines leave both out.
        stopped_because: why the search stopped early; None while it has not.
    """

    path: Path
    failure: Callable[[str], tuple[str, str]]
    stopped_because: str | None = None
    _counted_from = 0
    _held = False
    _saved = True

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """The next trial for a worker: its own unfinished one first, then one that lost its worker, then a new one."""
        if self.stopped_because:
            return Trial(self.get_space(), trial_id="", status=TrialStatus.STOPPED)
        with self._one_save():
            trial = super().create_trial(tuner_id)
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            # A worker may yet die: whoever is left takes its trial over.
            trial.status = TrialStatus.IDLE
        return trial

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Takes a trial's result; a second report of the same trial changes nothing."""
        if trial.trial_id in self.end_order:
            return
        with self._one_save():
            super().end_trial(trial)
            self._stop_after_like_failures()

    @keras_tuner.synchronized
    def release(self, tuner_id: str) -> str | None:
        """Takes a lost worker's trial back, for the next who asks. Returns its name."""
        self.tuner_ids.discard(tuner_id)
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is None:
            return None
        # Not RUNNING: `BayesianOptimizationOracle` would give a running trial without a worker another one's score.
        trial.status = TrialStatus.INVALID
        self._retry_queue.append(trial.trial_id)
        self.save()
        return trial.trial_id

    def ahead(self, count: int) -> list[keras_tuner.HyperParameters]:
        """At most so many trials that come next, as far as they do not depend on the results that are still to come.

        It lets a copy of itself run on; nothing of its own changes.
        """
        copied = copy.deepcopy(self)
        copied._saved = False
        found: list[keras_tuner.HyperParameters] = []
        for trial in list(copied.ongoing_trials.values()):
            copied._pretend(trial)
        while len(found) < count and copied._next_is_free():
            trial = copied.create_trial("ahead")
            if trial.status != TrialStatus.RUNNING or not copied._is_free(trial):
                break
            found.append(trial.hyperparameters)
            copied._pretend(trial)
        return found

    def _next_is_free(self) -> bool:
        return True  # Chosen without looking at results.

    def _is_free(self, trial: Trial) -> bool:
        return True

    def _pretend(self, trial: Trial) -> None:
        self.update_trial(trial.trial_id, {self.objective.name: 0.0})
        trial.status = TrialStatus.COMPLETED
        self.end_trial(trial)

    def save(self) -> None:
        if self._saved and not self._held:
            write_json(self.path, self.get_state())

    def reload(self) -> None:
        """Goes on from the file. Unfinished trials stay with their workers, see `create_trial` and `release`."""
        self.set_state(json.loads(self.path.read_text(encoding="utf-8")))

    def get_state(self) -> dict[str, Any]:
        trials = {name: trial.get_state() for name, trial in self.trials.items()}
        return {**super().get_state(), "trials": trials, "stopped_because": self.stopped_because}

    def set_state(self, state: dict[str, Any]) -> None:
        self.trials = {name: Trial.from_state(trial) for name, trial in state["trials"].items()}
        super().set_state(state)
        # Whoever starts a stopped search again has mended the cause, or wants to see whether it is gone.
        self._counted_from = len(self.end_order)

    def _save_trial(self, trial: Trial) -> None:
        """Trials are part of the state."""

    @contextlib.contextmanager
    def _one_save(self):
        """Keras Tuner saves in the middle of a change; here the file is replaced once, after it."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.save()

    def _stop_after_like_failures(self) -> None:
        last = self.end_order[self._counted_from :][-SAME_FAILURES:]
        if len(last) < SAME_FAILURES or any(self.trials[name].status != TrialStatus.FAILED for name in last):
            return
        failures = [self.failure(name) for name in last]
        if len({cause for cause, _ in failures}) == 1:
            self.stopped_because = failures[-1][1]


class DurableRandom(Durable, RandomSearchOracle):
    """Random search (Bergstra and Bengio 2012)."""


class DurableHyperband(Durable, HyperbandOracle):
    """Hyperband (Li et al. 2018) with folds as the resource: an early round runs the first folds only."""

    def _is_free(self, trial: Trial) -> bool:
        return trial.hyperparameters.values["tuner/round"] == 0


class DurableBayesian(Durable, BayesianOptimizationOracle):
    """A Gaussian process and its lower confidence bound."""

    def _next_is_free(self) -> bool:
        completed = sum(trial.status == TrialStatus.COMPLETED for trial in self.trials.values())
        return completed < self.num_initial_points

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):  # Its matrices are tiny: threads only wait for each other.
            return super().populate_space(trial_id)

    def get_state(self) -> dict[str, Any]:
        kind, keys, *rest = self._random_state.get_state()
        return {**super().get_state(), "random_state": [kind, keys.tolist(), *rest]}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        kind, keys, *rest = state["random_state"]
        self._random_state.set_state((kind, np.array(keys, np.uint32), *rest))


class DurableGrid(Durable, GridSearchOracle):
    """Every combination, the defaults first."""

    _ordered_ids: Any

    def get_state(self) -> dict[str, Any]:
        order = self._ordered_ids
        names = order._memory
        after = {names[i]: names[j] for i, j in order._next_index.items() if i is not None and j is not None}
        first = set(names) - set(after.values())
        chain = [first.pop()] if first else []
        while chain and chain[-1] in after:
            chain.append(after[chain[-1]])
        return {**super().get_state(), "ordered_ids": chain, "populate_next": list(self._populate_next)}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self._ordered_ids = type(self._ordered_ids)()
        for name in state["ordered_ids"]:
            self._ordered_ids.insert(name)
        self._populate_next = list(state["populate_next"])


def make_oracle(
    config: SearchSettings,
    path: Path,
    space: keras_tuner.HyperParameters,
    direction: Literal["min", "max"],
    failure: Callable[[str], tuple[str, str]],
) -> keras_tuner.Oracle:
    """The oracle of a search, without its state.

    Args:
        config: The search's settings.
        path: The file of its state.
        space: All hyper-parameters, declared.
        direction: Of the objective.
        failure: See `Durable`.

    Raises:
        InputError: too few trials for Hyperband to run one of them on all folds.
    """
    name, trials, folds = config.oracle, config.trials, config.folds
    shared = {
        "objective": keras_tuner.Objective("objective", direction),
        "hyperparameters": space,
        "seed": config.seed + 1,  # Keras Tuner takes a seed of 0 for none.
        "max_consecutive_failed_trials": 10**9,  # `Durable` looks at the causes instead.
    }
    if name == "hyperband":
        oracle = DurableHyperband(max_epochs=folds, factor=HYPERBAND_FACTOR, hyperband_iterations=math.inf, **shared)
        oracle.max_trials = trials or one_sweep(oracle)
        if oracle.max_trials < (needed := fewest_trials(oracle)):
            raise InputError(
                f"Hyperband on {folds} folds needs at least {needed} trials, or none of them runs on all folds. "
                f"Received: trials={trials}."
            )
    elif name == "bayesian":
        first = min(3 * len(space.space), max(3, (trials or 30) // 3))
        oracle = DurableBayesian(max_trials=trials or None, num_initial_points=first, **shared)
    else:
        oracle = {"random": DurableRandom, "grid": DurableGrid}[name](max_trials=trials or None, **shared)
    oracle.path, oracle.failure, oracle.verbose = path, failure, 0
    return oracle


def total_folds(oracle: keras_tuner.Oracle, folds: int) -> int:
    """Folds that all trials of a search train; 0 where the number of trials is not known.

    Args:
        oracle: from `make_oracle`.
        folds: of a whole trial.
    """
    if isinstance(oracle, HyperbandOracle):
        return folds_of(oracle, oracle.max_trials)
    return (oracle.max_trials or 0) * folds


def one_sweep(oracle: HyperbandOracle) -> int:
    """Trials of one sweep over all of Hyperband's brackets."""
    return sum(1 for _ in _sweep(oracle))


def fewest_trials(oracle: HyperbandOracle) -> int:
    """Trials until the first of them runs on all folds."""
    first = oracle._get_num_brackets() - 1
    return sum(oracle._get_size(first, number) for number in range(first)) + 1


def folds_of(oracle: HyperbandOracle, trials: int) -> int:
    """Folds that so many trials train, in the order of one worker; what a round before has trained is not counted."""
    whole, rest = divmod(trials, one_sweep(oracle))
    return whole * sum(_sweep(oracle)) + sum(islice(_sweep(oracle), rest))


def _sweep(oracle: HyperbandOracle) -> Iterator[int]:
    """The new folds of each trial of a sweep."""
    for bracket in reversed(range(oracle._get_num_brackets())):
        before = 0
        for number in range(oracle._get_num_rounds(bracket)):
            folds = oracle._get_epochs(bracket, number)
            yield from [folds - before] * oracle._get_size(bracket, number)
            before = folds
