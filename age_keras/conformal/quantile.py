"""The quantile behind every interval: of scores that come in writers.

Conformal prediction needs exchangeable units. Pages of one writer are not: a writer with forty pages would count forty
times. Writers are, so each writer has weight one, spread evenly over their pages, and one more writer, the one to
come, has an infinite score: hierarchical conformal prediction (Lee, Barber and Willett 2023, arXiv:2306.06342; the same
weights without the infinite one are the pooled distribution of Dunn, Wasserman and Ramdas 2022, JASA 118). With K
writers,

    P(score of a page of a new writer <= quantile) >= level,

and, where scores have no ties and each writer one page, <= level + 1 / (K + 1). With one page a writer it is the usual
split conformal quantile, the ceil((K + 1) level)-th smallest score.

MAPIE and crepes take scores as exchangeable one by one and know no groups, so their quantile over pages is only right
where every writer has one page, which is where it equals this one.
"""

import numpy as np


def page_weights(writers: np.ndarray) -> np.ndarray:
    """The weight of each page, (N,): each of the K writers has 1 / (K + 1), spread over their pages."""
    _, index, pages = np.unique(writers, return_inverse=True, return_counts=True)
    return 1 / pages[index] / (len(pages) + 1)


def hierarchical_quantile(scores: np.ndarray, writers: np.ndarray, level: float) -> np.ndarray:
    """The least score that holds at least `level` of the writers' weight, the writer to come counted at infinity.

    Args:
        scores: (N,), or (T, N) for T quantiles of the same pages' scores.
        writers: of the pages, anything that can be sorted, (N,).
        level: in (0, 1).

    Returns:
        float64 () or (T,); infinite where there are too few writers for the level (fewer than `writers_needed`).

    Example:
        >>> float(hierarchical_quantile(np.arange(1.0, 10.0), np.arange(9), 0.9))
        9.0
    """
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1. Received: level={level}")
    scores = np.asarray(scores, np.float64)
    if scores.shape[-1] == 0:
        return np.full(scores.shape[:-1], np.inf)
    order = np.argsort(scores, axis=-1, kind="stable")
    held = np.cumsum(page_weights(writers)[order], axis=-1)
    enough = held >= level - 1e-9  # A sum of weights misses a round level by rounding alone.
    ranked = np.take_along_axis(scores, order, axis=-1)
    first = enough.argmax(axis=-1)
    values = np.take_along_axis(ranked, first[..., None], axis=-1)[..., 0]
    return np.where(enough[..., -1], values, np.inf)


def writers_needed(level: float) -> int:
    """With how many writers a quantile of this level is finite: 9 for 0.9."""
    return int(np.ceil(level / (1 - level) - 1e-9))
