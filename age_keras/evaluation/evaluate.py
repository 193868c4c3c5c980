"""Everything that is said about a table of predictions, computed once: `evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.evaluation import groups, metrics
from age_keras.evaluation.baselines import Constant, constants
from age_keras.evaluation.bootstrap import RESAMPLES, bootstrap_scores, percentile_interval, writer_weights
from age_keras.evaluation.run_facts import RunFacts
from age_keras.predictions.alignment import Aligned, align
from age_keras.predictions.labels import describe, labels_of
from age_keras.predictions.table import select


@dataclass(frozen=True)
class Evaluation:
    """The judgement of M models and K constants on the same pages. Arrays have the models first, then the constants.

    Attributes:
        aligned: the scored pages and the models' predictions.
        split: which split was scored.
        constants: the K constants; `best` is the number of the one that skill is measured against.
        scores: metric -> (M + K,), pooled over all pages.
        intervals: metric -> (M + K, 2), 95 %, by bootstrap over writers.
        folds: metric -> (M + K, F), where the judgement is by fold, else None.
        ddof: of the standard deviation over folds.
        skill: (M,), 1 - MAE / MAE of the best constant, pooled. `skill_interval`: (M, 2).
        edges: of the age bands, see `band_index`. bands: see `band_scores`.
        writer_scores: metric -> (M + K,), each writer's pages averaged first.
        coverage: (M, 2): percent of ages within their bounds, and the bounds' mean width in years; None without bounds.
        groups: see `group_scores`. sources: see `source_scores`.
        labels: the training labels, or None.
        writers_from: `column`, `name` or `page`, see `read_predictions`.
        label_splits: how many scored pages the labels put in which split.
        resamples: of the bootstrap.
        facts: what the run recorded, nothing for a bare table.
    """

    aligned: Aligned
    split: str
    constants: list[Constant]
    best: int
    scores: dict[str, np.ndarray]
    intervals: dict[str, np.ndarray]
    folds: dict[str, np.ndarray] | None
    ddof: int
    skill: np.ndarray
    skill_interval: np.ndarray
    edges: tuple[float, ...]
    bands: dict[str, dict]
    writer_scores: dict[str, np.ndarray]
    coverage: np.ndarray | None
    groups: list[dict]
    sources: list[dict]
    labels: pd.DataFrame | None
    writers_from: str
    label_splits: dict[str, int]
    resamples: int
    facts: RunFacts

    @property
    def models(self) -> tuple[str, ...]:
        return self.aligned.models

    @property
    def names(self) -> list[str]:
        """The models' names and then the constants'."""
        return [*self.models, *(c.name for c in self.constants)]

    @property
    def best_constant(self) -> Constant:
        return self.constants[self.best]

    @property
    def best_model(self) -> int:
        """The number of the model with the lowest MAE, as the table has it (by fold: the mean over folds)."""
        return int(self.headline("MAE")[: len(self.models)].argmin())

    @property
    def n_writers(self) -> int:
        return int(self.aligned.writers.max()) + 1

    def headline(self, metric: str) -> np.ndarray:
        """The figure that a table shows, (M + K,): pooled, or by fold the mean over folds."""
        return self.scores[metric] if self.folds is None else self.folds[metric].mean(axis=1)

    def deviation(self, metric: str) -> np.ndarray:
        """The standard deviation over folds, (M + K,); NaN for too few folds."""
        values = self.folds[metric]
        if values.shape[1] <= self.ddof:
            return np.full(len(values), np.nan)
        return values.std(axis=1, ddof=self.ddof)


def evaluate(
    frame: pd.DataFrame,
    labels: pd.DataFrame | None = None,
    *,
    edges: Sequence[float],
    split: str | None = None,
    models: Sequence[str] = (),
    by: str | None = None,
    ddof: int = 1,
    resamples: int = RESAMPLES,
    seed: int = 0,
    facts: RunFacts | None = None,
) -> Evaluation:
    """Judges predictions.

    Args:
        frame: Predictions, from `read_predictions`.
        labels: What the models were trained on, from `read_labels`. Defaults to the rows of the split `train` in
            `frame`, if any.
        edges: Edges of the age bands, see `band_index`.
        split: The split to score. Defaults to the first of test, oof, val, train that there is.
        models: The models to score. Defaults to all.
        by: `fold` for the mean and standard deviation over folds. Defaults to pooled figures.
        ddof: 1 divides the variance over folds by n-1, 0 by n. Defaults to 1.
        resamples: Number of resamples of the bootstrap over writers. Defaults to 2000.
        seed: Seed of the bootstrap. Defaults to 0.
        facts: What the run recorded. Defaults to nothing.

    Raises:
        InputError: too few pages, no folds, or an unknown split or model.
    """
    if labels is None and (frame.Split == "train").any() and split != "train":
        labels = labels_of(frame[frame.Split == "train"].drop_duplicates("ImageID"))
    rows = select(frame, split, models)
    rows.attrs.update(frame.attrs)
    if labels is not None:
        rows = describe(rows, labels)
    aligned = align(rows)
    if len(aligned.pages) < 2:
        raise InputError("There is one page to score; R² and intervals need two pages or more.")
    truth, writers = aligned.truth, aligned.writers
    baselines = constants(aligned.pages, labels)
    everything = np.vstack([aligned.predictions, *[c.predictions for c in baselines]])
    m, n_writers = len(aligned.models), int(writers.max()) + 1
    scores = metrics.score(truth, everything)
    eligible = [number for number, constant in enumerate(baselines) if constant.counts]
    best = min(eligible, key=lambda number: scores["MAE"][m + number])

    weights = writer_weights(n_writers, resamples, seed)
    if n_writers < 2:
        weights = weights[:0]  # One writer says nothing about other writers.
    draws = bootstrap_scores(truth, everything, writers, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        skill = 1 - scores["MAE"][:m] / scores["MAE"][m + best]
        skill_draws = 1 - draws["MAE"][:m] / draws["MAE"][m + best]
    if by not in (None, "fold"):
        raise InputError(f"Figures can be given by fold (--by fold), not by {by!r}.")
    folds = aligned.pages.Fold.to_numpy()
    if by == "fold" and len(np.unique(folds)) < 2:
        raise InputError("The predictions have no folds: --by fold needs a column Fold with two folds or more.")
    attribute_split = aligned.pages.get("LabelSplit")
    return Evaluation(
        aligned=aligned,
        split=str(aligned.pages.Split.iloc[0]),
        constants=baselines,
        best=best,
        scores=scores,
        intervals={name: percentile_interval(values) for name, values in draws.items()},
        folds=metrics.by_fold(truth, everything, folds) if by == "fold" else None,
        ddof=ddof,
        skill=skill,
        skill_interval=percentile_interval(skill_draws),
        edges=tuple(edges),
        bands=groups.band_scores(truth, everything, writers, weights, edges),
        writer_scores=metrics.score(metrics.per_writer(truth, writers), metrics.per_writer(everything, writers)),
        coverage=_coverage(aligned),
        groups=groups.group_scores(aligned, edges, weights),
        sources=groups.source_scores(aligned, labels, weights),
        labels=labels,
        writers_from=rows.attrs.get("writers", "column"),
        label_splits={} if attribute_split is None else attribute_split.value_counts().to_dict(),
        resamples=resamples,
        facts=facts or RunFacts(),
    )


def _coverage(aligned: Aligned) -> np.ndarray | None:
    if aligned.lower is None:
        return None
    inside = (aligned.lower <= aligned.truth) & (aligned.truth <= aligned.upper)
    width = (aligned.upper - aligned.lower).mean(axis=1)
    return np.stack([np.where(np.isfinite(width), 100 * inside.mean(axis=1), np.nan), width], axis=1)
