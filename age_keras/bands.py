"""Age bands: the groups in which errors are reported and by which splits are stratified."""

import itertools
from collections.abc import Sequence

import numpy as np

from age_keras.errors import InputError

# The last completed year of HHD-Age's age groups 1 to 3; group 4 is over 50. What a run or a command reports in unless
# told otherwise; everything below the command line is given its bands.
BAND_EDGES = (15, 25, 50)


def band_index(ages: np.ndarray, edges: Sequence[float]) -> np.ndarray:
    """The band of each age, counted from 0.

    Ages count in completed years: whoever is 15.9 years old is 15, and in the band up to 15.

    Args:
        ages: Ages in years, (N,).
        edges: The last completed year of each band but the last, ascending.

    Returns:
        int64 (N,), from 0 to len(edges).
    """
    return np.searchsorted(np.asarray(edges), np.floor(np.asarray(ages, np.float64)), side="left")


def check_edges(edges: Sequence[float]) -> None:
    """Raises InputError where edges are not whole years, each above the one before."""
    values = np.asarray(edges, np.float64)
    if (values != np.floor(values)).any() or (np.diff(values) <= 0).any():
        said = " ".join(f"{edge:g}" for edge in edges)
        raise InputError(f"`bands` must be whole years, each above the one before, such as 15 25 50. Received: {said}.")


def band_names(edges: Sequence[float]) -> list[str]:
    """`≤15`, `16–25`, `26–50`, `>50` for the edges 15, 25, 50; `all ages` where there are none."""
    edges = [int(e) for e in edges]
    middle = [f"{low + 1}–{high}" for low, high in itertools.pairwise(edges)]
    return [f"≤{edges[0]}", *middle, f">{edges[-1]}"] if edges else ["all ages"]
