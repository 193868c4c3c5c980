"""Judged within each source: where sources differ in age, telling the sources apart looks like telling the ages."""

import numpy as np
import pandas as pd

from age_keras.evaluation import metrics
from age_keras.evaluation.baselines import constants, training_rows
from age_keras.evaluation.bootstrap import percentile_interval
from age_keras.predictions.alignment import Aligned


def source_scores(aligned: Aligned, labels: pd.DataFrame | None, weights: np.ndarray) -> list[dict]:
    """The skill within each source against that source's own best constant.

    Args:
        aligned: M models' predictions.
        labels: training labels with a column `Source`; where they are missing or lack it, constants come from the other
            folds, or from the scored pages in hindsight.
        weights: from `writer_weights`, (B, writers).

    Returns:
        A dictionary for each source: `source`, `n`, `writers`, `constant` (a `Constant`), `constant_MAE`, and for the
        models `MAE` (M,), `Skill` (M,) and `Skill_interval` (M, 2). Empty where there are not two sources.
    """
    if "Source" not in aligned.pages or aligned.pages.Source.nunique() < 2:
        return []
    if labels is not None and "Source" not in labels:
        labels = None
    writers, rows = aligned.writers, []
    for source in sorted(aligned.pages.Source.dropna().unique()):
        part = aligned.rows((aligned.pages.Source == source).to_numpy())
        codes = writers[(aligned.pages.Source == source).to_numpy()]
        own, groups = np.unique(codes, return_inverse=True)
        if len(own) < 2:
            continue
        known = labels[labels.Source == source] if labels is not None else None
        if known is not None and training_rows(known).empty:
            known = None
        baselines = [c for c in constants(part.pages, known) if c.counts]
        every = np.vstack([part.predictions, *[c.predictions for c in baselines]])
        errors = metrics.score(part.truth, every)["MAE"]
        m = len(part.models)
        best = m + int(errors[m:].argmin())
        draws = metrics.weighted_sum_scores(part.truth, every, groups, weights[:, own], ("MAE",))["MAE"]
        with np.errstate(invalid="ignore", divide="ignore"):
            skill, resampled = 1 - errors[:m] / errors[best], 1 - draws[:m] / draws[best]
        rows.append(
            {
                "source": str(source),
                "n": len(part.pages),
                "writers": len(own),
                "constant": baselines[best - m],
                "constant_MAE": errors[best],
                "MAE": errors[:m],
                "Skill": skill,
                "Skill_interval": percentile_interval(resampled),
            }
        )
    return rows
