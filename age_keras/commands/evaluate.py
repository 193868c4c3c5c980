"""Evaluate predictions: metrics, constants, intervals, age bands, checks, and a verdict in one sentence."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

# The matrices are small: threads would cost more time than they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tyro
from annotated_types import Ge

from age_keras.bands import BAND_EDGES, check_edges
from age_keras.config.settings import Seed
from age_keras.evaluation.checks import run_checks
from age_keras.evaluation.evaluate import evaluate
from age_keras.evaluation.report.document import as_json, as_markdown
from age_keras.evaluation.report.tables import csv_table, latex_table
from age_keras.evaluation.run_facts import run_facts
from age_keras.files import atomic_write, writing
from age_keras.predictions.labels import read_labels
from age_keras.predictions.table import read_predictions


def main(
    predictions: tyro.conf.Positional[Path],
    train: Path | None = None,
    by: Literal["fold"] | None = None,
    bands: tuple[float, ...] | None = None,
    ddof: Literal[0, 1] = 1,
    format: Literal["md", "csv", "json", "latex"] = "md",
    out: Path | None = None,
    split: str | None = None,
    model: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = (),
    figures: Path | None = None,
    resamples: Annotated[int, Ge(100)] = 2000,
    seed: Seed = 0,
) -> None:
    """Evaluates predictions: metrics, constants, intervals, age bands, checks, and a verdict in one sentence.

    Args:
        predictions: A table (csv, tsv, xlsx, parquet), long (ImageID, TrueAge, Prediction, Model) or wide (a column for
            each model), or a run's folder.
        train: Labels that the models were trained on (File, Age, WriterNumber, Set): the constants come from their
            training rows. Without them the constants come from the other folds, or in hindsight from the scored pages.
        by: `fold` reports the mean and standard deviation over folds.
        bands: Upper ends of the age bands, in years. Defaults to those of the run, else to HHD's 15, 25, 50.
        ddof: The standard deviation over folds divides by n - ddof.
        format: Output format; json has every figure.
        out: File to write to instead of the screen.
        split: Split to score (train, val, test, oof). Defaults to test, or else oof.
        model: Models to score. Defaults to all.
        figures: Folder to draw the figures into.
        resamples: Number of resamples of the bootstrap over writers.
        seed: Seed of the bootstrap.
    """
    check_edges(bands or ())
    facts = run_facts(predictions)
    result = evaluate(
        read_predictions(predictions),
        read_labels(train) if train else facts.labels,
        split=split,
        models=model,
        by=by,
        edges=next(edges for edges in (bands, facts.bands, BAND_EDGES) if edges is not None),
        ddof=ddof,
        resamples=resamples,
        seed=seed,
        facts=facts,
    )
    checks = run_checks(result)
    if format == "json":
        text = json.dumps(as_json(result, checks), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    else:
        text = {"md": lambda: as_markdown(result, checks), "csv": lambda: csv_table(result)}.get(
            format, lambda: latex_table(result)
        )()
    if figures:
        from age_keras.evaluation.report.figures import draw_figures

        with writing(figures):
            draw_figures(result, figures)
    if out is None:
        sys.stdout.write(text)
        return
    with writing(out), atomic_write(out) as file:
        file.write(text)
