"""Several tables of predictions as one comparison: models matched page by page, the best constant among them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.evaluation import metrics
from age_keras.evaluation.baselines import constants
from age_keras.evaluation.bootstrap import RESAMPLES as INTERVAL_RESAMPLES
from age_keras.evaluation.bootstrap import percentile_interval, writer_weights
from age_keras.evaluation.comparison.significance import RESAMPLES, Pair, Unit, compare
from age_keras.evaluation.run_facts import run_facts
from age_keras.predictions.alignment import align
from age_keras.predictions.labels import describe, read_labels
from age_keras.predictions.table import read_predictions, select

CONSTANT = "constant"


@dataclass(frozen=True)
class Comparison:
    """What `compare_files` found.

    Attributes:
        names: the models', then the constant's. `constant` is its number, or None where none was wanted.
        hindsight: whether the constant was chosen on the scored pages.
        scores: of the metric, (M,). intervals: 95 %, bootstrap over `by`, (M, 2).
        pairs: see `significance.compare`.
        metric, by, resamples, seed, reference: as asked.
        pages, writers: how many; `writers_known` is False where each page counts as its own writer.
        left_out: how many pages some model lacks.
        truth, predictions: of the scored pages, (N,) and (M, N).
    """

    names: tuple[str, ...]
    constant: int | None
    hindsight: bool
    scores: np.ndarray
    intervals: np.ndarray
    pairs: list[Pair]
    metric: str
    by: Unit
    resamples: int
    seed: int
    reference: int | None
    pages: int
    writers: int
    writers_known: bool
    left_out: int
    truth: np.ndarray
    predictions: np.ndarray

    @property
    def ranking(self) -> list[int]:
        """Numbers of the models, best first."""
        return ranked(self.scores, self.metric)


def ranked(scores: np.ndarray, metric: str) -> list[int]:
    """Best first: the highest of accuracies and R², the bias nearest zero, the lowest of errors."""
    key = -scores if metric in metrics.HIGHER_IS_BETTER else np.abs(scores)
    return [int(i) for i in np.argsort(key, kind="stable")]


def compare_files(
    files: Sequence[Path],
    *,
    metric: str = "MAE",
    by: Unit = "writer",
    reference: str | None = None,
    train: Path | None = None,
    split: str | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compares all models of one or more tables of predictions, and the constant that does best.

    Args:
        files: tables or runs' folders. A model that several files have is called `file: model`.
        metric, by, resamples, seed: see `significance.compare`.
        reference: compare with this model only (`constant` for the constant). Defaults to all pairs.
        train: labels that the constants are learnt from. Defaults to what the first run's folder among the files
            recorded, else the other folds, else hindsight.
        split: which split of each file. Defaults to the first of test, oof, val, train that it has.

    Raises:
        InputError: files that have no page in common, or too few models.
    """
    frame, known = _together(files, split)
    recorded = (run_facts(file).labels for file in files)
    labels = read_labels(train) if train else next((found for found in recorded if found is not None), None)
    if labels is not None:
        frame = describe(frame, labels)
    aligned = align(frame)
    baselines = [c for c in constants(aligned.pages, labels) if c.counts]
    errors = [np.abs(c.predictions - aligned.truth).mean() for c in baselines]
    best = baselines[int(np.argmin(errors))]
    names = (*aligned.models, f"{CONSTANT} {best.years}")
    predictions = np.vstack([aligned.predictions, best.predictions])
    number = None
    if reference is not None:
        number = len(names) - 1 if reference == CONSTANT else _number(names, reference)
    pairs = compare(
        aligned.truth,
        predictions,
        aligned.writers,
        metric=metric,
        by=by,
        reference=number,
        resamples=resamples,
        seed=seed,
    )
    units = aligned.writers if by == "writer" else np.arange(len(aligned.pages))
    weights = writer_weights(int(units.max()) + 1, min(resamples, INTERVAL_RESAMPLES), seed)
    draws = metrics.weighted_sum_scores(aligned.truth, predictions, units, weights, (metric,))[metric]
    total = frame.drop_duplicates(["ImageID", "Fold"]).shape[0]
    return Comparison(
        names=names,
        constant=len(names) - 1,
        hindsight=best.hindsight,
        scores=metrics.score(aligned.truth, predictions)[metric],
        intervals=percentile_interval(draws, writers=int(units.max()) + 1),
        pairs=pairs,
        metric=metric,
        by=by,
        resamples=resamples,
        seed=seed,
        reference=number,
        pages=len(aligned.pages),
        writers=int(aligned.writers.max()) + 1,
        writers_known=known,
        left_out=total - len(aligned.pages),
        truth=aligned.truth,
        predictions=predictions,
    )


def _together(files: Sequence[Path], split: str | None) -> tuple[pd.DataFrame, bool]:
    """All rows of all files, with unique models, and each page's fold and writer from the file that knows them."""
    frames = [read_predictions(file) for file in files]
    known = [frame.attrs["writers"] != "page" for frame in frames]
    frames = [select(frame, split) for frame in frames]
    if len(frames) == 1:
        return frames[0], known[0]
    pages = [set(frame.ImageID) for frame in frames]
    for file, other in zip(files[1:], pages[1:], strict=True):
        if not pages[0] & other:
            raise InputError(
                f"{files[0]} and {file} have no page in common: pages are matched by ImageID, and these have "
                f"{min(pages[0])} and {min(other)}."
            )
    counts = pd.Series([m for frame in frames for m in frame.Model.unique()]).value_counts()
    for frame, stem in zip(frames, _stems(files), strict=True):
        twice = frame.Model.map(counts) > 1
        frame["Model"] = frame.Model.where(~twice, stem + ": " + frame.Model)
    once = not any(frame.duplicated(["Model", "ImageID"]).any() for frame in frames)
    folded = next((frame for frame in frames if (frame.Fold > 0).any()), frames[0])
    named = next((frame for frame, is_known in zip(frames, known, strict=True) if is_known), frames[0])
    for frame in frames:
        if once:  # A page is scored once by each model: its fold is a fact about training, not which page it is.
            frame["Fold"] = frame.ImageID.map(folded.drop_duplicates("ImageID").set_index("ImageID").Fold)
            frame["Fold"] = frame.Fold.fillna(0).astype(np.int64)
        writer = frame.ImageID.map(named.drop_duplicates("ImageID").set_index("ImageID").Writer)
        frame["Writer"] = writer.fillna(frame.Writer)
    return pd.concat(frames, ignore_index=True), any(known)


def _stems(files: Sequence[Path]) -> list[str]:
    """What tells the files apart: their names, or as many of their folders as it takes."""
    parts = [(path.parent if path.name == "predictions.csv" else path.with_suffix("")).parts for path in files]
    depth, different = 1, len(set(parts))
    while len({p[-depth:] for p in parts}) < different:
        depth += 1
    stems = ["/".join(p[-depth:]) for p in parts]
    return stems if different == len(parts) else [f"{s} ({n})" for n, s in enumerate(stems, start=1)]


def _number(names: Sequence[str], name: str) -> int:
    if name not in names:
        raise InputError(f"There is no model {name!r} to compare with; there are {', '.join(names)}.")
    return list(names).index(name)
