"""Which hyper-parameters mattered: main effects of a random forest fitted to the trials.

Functional ANOVA (Hutter, Hoos and Leyton-Brown 2014), main effects only: the fraction of the forest's variance over the
tried configurations that is explained by one hyper-parameter, the others averaged out.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

TREES = 200
FEWEST = 6
"""Trials below which nothing can be said."""


def parameter_table(parameters: Sequence[dict]) -> pd.DataFrame:
    """A column for each hyper-parameter; missing where it was not active."""
    return pd.DataFrame(list(parameters))


def is_logarithmic(values: np.ndarray) -> bool:
    """Whether numbers are better read on a logarithmic axis: positive, many, and over more than a decade."""
    return bool(len(np.unique(values)) > 4 and values.min() > 0 and values.max() / values.min() > 10)


def encode(column: pd.Series) -> np.ndarray:
    """Numbers for a forest: logarithms where that is the scale, codes for names, -1 for inactive."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(np.float64)
        known = values[np.isfinite(values)]
        if len(known) and is_logarithmic(known):
            values = np.log10(values)
        lowest = np.nanmin(values) if len(known) else 0.0
        return np.where(np.isfinite(values), values, lowest - 1)
    return pd.Categorical(column.astype("object").where(column.notna(), "inactive").astype(str)).codes.astype(
        np.float64
    )


def importances(parameters: Sequence[dict], scores: Sequence[float], seed: int = 0) -> pd.DataFrame | None:
    """Main effects.

    Args:
        parameters: of the trials.
        scores: their objectives.
        seed: of the forest.

    Returns:
        `parameter`, `fraction` (of the variance) and `sd` (over the trees), the most important first; None where there
        are fewer than `FEWEST` trials or nothing varies.
    """
    table = parameter_table(parameters)
    varying = [name for name in table if table[name].astype(str).nunique() > 1]
    if len(table) < FEWEST or not varying or np.ptp(scores) == 0:
        return None
    from sklearn.ensemble import RandomForestRegressor

    x = np.column_stack([encode(table[name]) for name in varying])
    forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=seed).fit(x, scores)
    fractions = np.stack([_main_effects(tree, x) for tree in forest.estimators_])
    found = pd.DataFrame({"parameter": varying, "fraction": fractions.mean(axis=0), "sd": fractions.std(axis=0)})
    return found.sort_values("fraction", ascending=False, ignore_index=True)


def _main_effects(tree, x: np.ndarray) -> np.ndarray:
    whole = tree.predict(x).var()
    effects = np.zeros(x.shape[1])
    if whole == 0:
        return effects
    for column in range(x.shape[1]):
        values, counts = np.unique(x[:, column], return_counts=True)
        grid = np.repeat(x[None], len(values), axis=0)
        grid[:, :, column] = values[:, None]
        means = tree.predict(grid.reshape(-1, x.shape[1])).reshape(len(values), -1).mean(axis=1)
        effects[column] = np.average((means - np.average(means, weights=counts)) ** 2, weights=counts) / whole
    return np.minimum(effects, 1.0)
