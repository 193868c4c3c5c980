"""How many folds a search trains, and Hyperband's plan: the trials and folds of its sweeps over the brackets."""

from collections.abc import Iterator
from itertools import islice

import keras_tuner
from keras_tuner.oracles import HyperbandOracle


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
