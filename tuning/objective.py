"""What a trial is judged by: the mean over writer-disjoint folds, with its spread; and when a bad trial is cut.

The rule of the race. After each fold a trial is compared with the best whole trial *on the same folds*, so that hard
folds count for neither. Let d be the mean of the differences (positive: worse), k the number of folds done, s the
standard deviation of the best trial over all its folds. The trial is cut when

    d > strength * max(s / sqrt(k), 0.02 * |mean of the best trial|)

With the strength of 1 a trial goes on while it is within one standard error of the best. It is cut after a fold only,
never before its first, and never where it is better. A cut trial's estimate is the best trial's mean plus d: worse than
the best, so it is never chosen, and on the same scale as the others, so that the oracle learns from it.
(Racing: Maron and Moore 1994, Hoeffding races; Birattari et al. 2002, F-race. Their tests need more folds than five.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from age_keras.bands import band_index

SLACK = 0.02


@dataclass(frozen=True)
class Objective:
    """A figure that a search makes small or large.

    Attributes:
        name: its key in a fold's record.
        direction: `min` or `max`.
        label: for tables and axes.
    """

    name: str
    direction: Literal["min", "max"]
    label: str

    @property
    def sign(self) -> int:
        """1 where smaller is better, -1 where larger is."""
        return 1 if self.direction == "min" else -1


OBJECTIVES = {
    "mae": Objective("mae", "min", "MAE (years)"),
    "skill": Objective("skill", "max", "skill (1 − MAE / MAE of the training median)"),
    "band_mae": Objective("band_mae", "min", "mean of the age bands' MAE (years)"),
    "error": Objective("error", "min", "wrong answers (%)"),
}


def age_scores(truth: np.ndarray, prediction: np.ndarray, constant: float, edges: Sequence[float]) -> dict[str, float]:
    """A fold's figures.

    Args:
        truth: ages of the scored pages, years, (N,).
        prediction: as predicted, years, (N,).
        constant: the median age of the training writers, in years, that a model must beat.
        edges: of the age bands.

    Returns:
        `mae`, `band_mae` (mean over the bands that have pages) in years, and `skill`, 1 for a perfect model, 0 for the
        constant, negative for worse.
    """
    error = np.abs(np.asarray(truth, np.float64) - prediction)
    baseline = float(np.abs(np.asarray(truth, np.float64) - constant).mean())
    bands = band_index(truth, edges)
    mae = float(error.mean())
    return {
        "mae": mae,
        "skill": 1 - mae / baseline if baseline else float("nan"),
        "band_mae": float(np.mean([error[bands == band].mean() for band in np.unique(bands)])),
    }


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean over folds, and standard deviation (n - 1); 0 for a single fold."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def race(values: Sequence[float], best: Sequence[float] | None, strength: float, sign: int) -> tuple[bool, float]:
    """Whether a trial is cut after its first folds.

    Args:
        values: the objective on the folds done, in their order.
        best: the best whole trial's on all folds, in the same order; None where there is none yet.
        strength: see the module; 0 cuts nothing.
        sign: 1 where smaller is better, -1 where larger is.

    Returns:
        Whether it is cut, and the estimate of its mean over all folds.
    """
    if not best or not values:
        return False, float(np.mean(values)) if values else float("nan")
    k = len(values)
    mean, sd = mean_and_sd(best)
    behind = sign * float(np.mean(np.subtract(values, best[:k])))
    allowed = strength * max(sd / math.sqrt(k), SLACK * abs(mean))
    cut = strength > 0 and k < len(best) and behind > allowed
    return cut, mean + sign * behind


def selection_bias(chosen: Sequence[float], trials: Sequence[Sequence[float]], sign: int) -> float:
    """How much the search flatters its choice: the estimate of Tibshirani and Tibshirani 2009 (arXiv:0908.2904).

    The mean, over folds, of what the choice loses to the best trial *of that fold*.

    Args:
        chosen: the choice's objective, one for each fold.
        trials: those of all whole trials.
        sign: 1 where smaller is better, -1 where larger is.
    """
    each = sign * np.asarray(trials, np.float64)
    return float(np.mean(sign * np.asarray(chosen) - each.min(axis=0)))
