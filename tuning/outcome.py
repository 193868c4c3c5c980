"""What the end of a search says: the choice against the default on unseen writers, without Keras."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """The choice and the default on the outer writers.

    Attributes:
        rows: `Writer`, `TrueAge`, `chosen`, `default`: a row for each page, ages in years.
        constant: the training writers' median age.
    """

    rows: pd.DataFrame
    constant: float


def difference(measured: Measured, seed: int = 0) -> tuple[float, float, float]:
    """How much larger the default's error is than the choice's, in years, with its 95 % interval over writers.

    Returns:
        The difference of the MAEs (positive: the choice is better), and the ends of its percentile interval under
        resampling of writers (a cluster bootstrap, Davison and Hinkley 1997, section 3.8).
    """
    rows = measured.rows
    gain = (rows["default"] - rows["TrueAge"]).abs() - (rows["chosen"] - rows["TrueAge"]).abs()
    return interval(gain, rows["Writer"], seed)


def interval(gain: pd.Series, writers: pd.Series, seed: int = 0) -> tuple[float, float, float]:
    """A mean and the ends of its 95 % interval under resampling of writers.

    Args:
        gain: a number for each page or character.
        writers: whose it is.
        seed: of the resampling.
    """
    by_writer = gain.groupby(writers.to_numpy()).agg(["sum", "size"]).to_numpy(np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(by_writer), (RESAMPLES, len(by_writer)))
    sums, counts = np.stack([each[drawn].sum(axis=1) for each in by_writer.T])
    low, high = np.percentile(sums / counts, [2.5, 97.5])
    return float(gain.mean()), float(low), float(high)
