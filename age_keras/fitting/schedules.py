"""Learning rates over a training: linear warm-up, then constant or half a cosine."""

import math
from typing import Any, Literal

import numpy as np

Schedule = Literal["constant", "plateau", "cosine"]


def rate_factor(
    schedule: Schedule, done: Any, warmup: float = 0.0, start: float = 0.1, end: float = 0.0, xp: Any = np
) -> Any:
    """The learning rate at a point of a training, relative to its peak.

    Half a cosine falls from the end of the warm-up to `end` at the end of the training (Loshchilov and Hutter 2017,
    arXiv:1608.03983, without restarts). A loop that sets the rate once an epoch takes it at the epoch's start: the
    epoch after the last would have `end`.

    Args:
        schedule: `"cosine"`, or `"constant"`; `"plateau"` is constant here, as what falls is up to `BestEpoch`.
        done: Fraction of the training that is over, in [0, 1].
        warmup: Fraction of the training with a linear rise from `start` to 1. Defaults to 0.
        start: The factor at the start of the warm-up. Defaults to 0.1.
        end: The factor at the end of the training. Defaults to 0.
        xp: The library that computes it: `numpy`, or `keras.ops` for a schedule inside a graph. Defaults to `numpy`.

    Example:

    >>> [round(float(rate_factor("cosine", epoch / 4)), 2) for epoch in range(5)]
    [1.0, 0.85, 0.5, 0.15, 0.0]
    """
    rise = start + (1 - start) * done / max(warmup, 1e-6)
    fall = 1.0
    if schedule == "cosine":
        progress = xp.maximum(done - warmup, 0.0) / max(1 - warmup, 1e-6)
        fall = end + (1 - end) * 0.5 * (1 + xp.cos(math.pi * progress))
    return xp.where(done < warmup, rise, fall)
