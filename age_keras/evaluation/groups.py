"""Scores of parts of the pages: age bands, groups of writers (sex, hand, source and their crossings), and sources.

Bands show what a model that answers "about 20" for everybody is; groups show who bears the errors; and where sources
differ in age, telling the sources apart looks like telling the ages, so each source is judged by its own constant.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from age_keras.bands import band_index, band_names
from age_keras.evaluation import metrics
from age_keras.evaluation.baselines import constants, training_rows
from age_keras.evaluation.bootstrap import percentile_interval
from age_keras.predictions.alignment import Aligned

# Below this many writers an interval by the bootstrap is too narrow to be believed.
MIN_WRITERS = 10


def band_scores(
    truth: np.ndarray,
    predictions: np.ndarray,
    writers: np.ndarray,
    weights: np.ndarray,
    edges: Sequence[float],
) -> dict[str, dict[str, np.ndarray]]:
    """The metrics in each age band that has pages, and their mean over the bands.

    An age counts in completed years: 15.9 lies in the band up to 15.

    Args:
        truth: (N,). predictions: (M, N). writers: integers from 0, (N,).
        weights: from `writer_weights`, (B, writers).
        edges: Edges of the age bands, see `band_index`.

    Returns:
        Band (such as `≤15`, `16–25`, `26–50`, `>50`; and `macro`: each band counts the same, however many pages it has)
        to a dictionary: every metric (M,), `MAE_interval` and `Bias_interval` (M, 2), `n` pages and `writers`. A macro
        average is NaN where a band does not define the metric.
    """
    bands = band_index(truth, edges)
    result: dict[str, dict[str, Any]] = {}
    resampled = []
    for number, name in enumerate(band_names(edges)):
        rows = bands == number
        if not rows.any():
            continue
        draws = metrics.weighted_sum_scores(truth[rows], predictions[:, rows], writers[rows], weights, ("MAE", "Bias"))
        n_writers = len(np.unique(writers[rows]))
        resampled.append(draws["MAE"])
        result[name] = {
            **metrics.score(truth[rows], predictions[:, rows]),
            "MAE_interval": percentile_interval(draws["MAE"], writers=n_writers),
            "Bias_interval": percentile_interval(draws["Bias"], writers=n_writers),
            "n": int(rows.sum()),
            "writers": n_writers,
        }
    parts = list(result.values())
    # A resample without a writer of some band has no macro average and is left out.
    macro = percentile_interval(np.mean(resampled, axis=0))
    result["macro"] = {
        **{name: np.mean([part[name] for part in parts], axis=0) for name in metrics.METRICS},
        "MAE_interval": macro,
        "n": len(truth),
        "writers": len(np.unique(writers)),
    }
    return result


def attributes(pages: pd.DataFrame, edges: Sequence[float]) -> dict[str, np.ndarray]:
    """What pages can be grouped by: `Sex`, `Hand`, `Source` where they have two values or more, and `Age band`.

    Returns:
        Attribute to the group of each page, str (N,), empty where it is not known.
    """
    found = {}
    for column in ("Sex", "Hand", "Source"):
        if column in pages:
            values = pages[column].astype("string").str.strip().fillna("").to_numpy(dtype=object)
            if len(set(values) - {""}) > 1:
                found[column] = values
    bands = np.asarray(band_names(edges), dtype=object)[band_index(pages.TrueAge.to_numpy(), edges)]
    if len(set(bands)) > 1:
        found["Age band"] = bands
    return found


def group_scores(aligned: Aligned, edges: Sequence[float], weights: np.ndarray) -> list[dict]:
    """Scores of each group of pages.

    Args:
        aligned: The predictions of M models.
        edges: Edges of the age bands, see `band_index`.
        weights: From `writer_weights`, (B, writers).

    Returns:
        A dictionary for each group of an attribute or of a pair of attributes: `attribute` and `group` (`Sex` and `F`;
        `Sex × Age band` and `F, ≤15`), `n` pages, `writers`, `few_writers` (under `MIN_WRITERS`), `MAE` and `Bias` (M,)
        with `MAE_interval` and `Bias_interval` (M, 2), and `Coverage` with its interval, in percent, where the
        predictions have lower and upper bounds.
    """
    single = attributes(aligned.pages, edges)
    if not set(single) - {"Age band"}:
        return []  # Bands alone stand in the table of bands.
    groupings = {name: [f"{v}" for v in values] for name, values in single.items()}
    for one, two in combinations(single, 2):
        both = zip(single[one], single[two], strict=True)
        groupings[f"{one} × {two}"] = [f"{a}, {b}" if a and b else "" for a, b in both]
    writers, rows = aligned.writers, []
    for attribute, values in groupings.items():
        labels = np.asarray(values, dtype=object)
        for group in _in_order(set(labels) - {""}, edges):
            keep = labels == group
            rows.append({"attribute": attribute, "group": group, **_scores(aligned, keep, writers, weights)})
    return rows


def gaps(groups: list[dict], models: int) -> list[dict]:
    """The largest difference in MAE within each attribute, over groups with enough writers.

    Returns:
        For each attribute a dictionary: `attribute`, `MAE_gap` (M,), years, `highest` and `lowest`: the groups, (M,).
    """
    result = []
    for attribute in dict.fromkeys(g["attribute"] for g in groups):
        enough = [g for g in groups if g["attribute"] == attribute and not g["few_writers"]]
        if len(enough) < 2:
            continue
        errors = np.stack([g["MAE"] for g in enough])
        high, low = errors.argmax(axis=0), errors.argmin(axis=0)
        every = np.arange(models)
        result.append(
            {
                "attribute": attribute,
                "MAE_gap": errors[high, every] - errors[low, every],
                "highest": [enough[i]["group"] for i in high],
                "lowest": [enough[i]["group"] for i in low],
            }
        )
    return result


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


def _scores(aligned: Aligned, keep: np.ndarray, writers: np.ndarray, weights: np.ndarray) -> dict:
    truth, predictions = aligned.truth[keep], aligned.predictions[:, keep]
    groups, own = writers[keep], np.unique(writers[keep])
    draws = metrics.weighted_sum_scores(truth, predictions, groups, weights, ("MAE", "Bias"))
    scores = metrics.score(truth, predictions)
    row = {
        "n": int(keep.sum()),
        "writers": len(own),
        "few_writers": len(own) < MIN_WRITERS,
        "MAE": scores["MAE"],
        "MAE_interval": percentile_interval(draws["MAE"], writers=len(own)),
        "Bias": scores["Bias"],
        "Bias_interval": percentile_interval(draws["Bias"], writers=len(own)),
    }
    if aligned.lower is not None:
        covered = (aligned.lower[:, keep] <= truth) & (truth <= aligned.upper[:, keep])
        known = np.isfinite(aligned.lower[:, keep]) & np.isfinite(aligned.upper[:, keep])
        with np.errstate(invalid="ignore", divide="ignore"):
            row["Coverage"] = np.where(known.all(axis=1), 100 * covered.mean(axis=1), np.nan)
            hits = np.stack([np.bincount(groups, weights=c, minlength=weights.shape[1]) for c in covered])
            coverage = 100 * (hits @ weights.T) / (weights @ np.bincount(groups, minlength=weights.shape[1]))
        row["Coverage_interval"] = np.where(
            known.all(axis=1)[:, None], percentile_interval(coverage, writers=len(own)), np.nan
        )
    return row


def _in_order(groups: set[str], edges: Sequence[float]) -> list[str]:
    """Groups by name, but age bands by age."""
    rank = {band: number for number, band in enumerate(band_names(edges))}
    return sorted(groups, key=lambda g: [(rank.get(part, -1), part) for part in g.split(", ")])
