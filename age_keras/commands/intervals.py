"""Prediction intervals for a table of predictions, calibrated by writer, and how often they hold the age."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

# The matrices are small: threads would cost more time than they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import tyro
from annotated_types import Interval

from age_keras.bands import BAND_EDGES, check_edges
from age_keras.evaluation.intervals.files import IntervalSource
from age_keras.evaluation.intervals.table import band_table, coverage_rows, note, overall_table, warning
from age_keras.evaluation.run_facts import run_facts
from age_keras.files import writing
from age_keras.predictions.alignment import align
from age_keras.predictions.intervals import check_coverage
from age_keras.predictions.table import write_predictions


def main(
    calibration: tyro.conf.Positional[Path],
    test: tyro.conf.Positional[Path | None] = None,
    coverage: Annotated[float, Interval(gt=0, lt=1)] = 0.9,
    method: Literal["split", "mondrian", "cqr", "cross"] | None = None,
    bands: tuple[float, ...] | None = None,
    out: Path | None = None,
    format: Literal["md", "json"] = "md",
    figure: Path | None = None,
) -> None:
    """Adds Lower and Upper to predictions, and prints coverage and width, overall and by age band.

    Args:
        calibration: Predictions of pages with known ages that the models were not trained on (validation), long or
            wide, or a run's folder.
        test: Predictions to bound. Defaults to none: CALIBRATION is a run with validation rows, or holds out-of-fold
            predictions, and each fold is bounded by the errors in the other folds.
        coverage: Fraction of new writers whose age is to lie within the bounds, in (0, 1).
        method: How bounds are made: `split` (the same width for all), `mondrian` (a width for each band of predicted
            age), `cqr` (moves the Lower and Upper of a quantile head), `cross` (by out-of-fold errors: of the other
            folds; with two tables of all folds, or CV+ where TEST has a prediction by each fold's model). Defaults to
            `cqr` where there are Lower and Upper, else `split`; with out-of-fold predictions alone always by other
            folds.
        bands: Upper ends of the age bands, in years. Defaults to those of the run, else to HHD's 15, 25, 50.
        out: File to write the predictions with Lower and Upper to.
        format: Output format.
        figure: PNG file to draw nominal against actual coverage into.
    """
    check_coverage(coverage)
    check_edges(bands or ())
    runs = (run_facts(path).bands for path in (test, calibration) if path)
    edges = next(e for e in (bands, *runs, BAND_EDGES) if e is not None)
    source = IntervalSource(calibration, test, edges, method)
    rows = source.rows(coverage)
    aligned = align(rows)
    if out:
        with writing(out):
            write_predictions(out, rows)
    if figure:
        from age_keras.evaluation.intervals.figure import interval_calibration
        from age_keras.evaluation.report.figures import save

        with writing(figure):
            save(interval_calibration(source.rows), figure)
    if format == "json":
        models = {name: [_plain(r) for r in coverage_rows(aligned, m, edges)] for m, name in enumerate(aligned.models)}
        document = {"coverage": coverage, "method": method, "pages": len(aligned.pages), "models": models}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return
    has = np.isfinite(aligned.lower).any(axis=1)
    errors = np.where(has, np.abs(aligned.predictions - aligned.truth).mean(axis=1), np.inf)
    best = int(errors.argmin())
    parts = [note(coverage), overall_table(aligned), warning(aligned), f"## By age band: {aligned.models[best]}"]
    parts.append(band_table(aligned, best, edges))
    if not source.known_writers:
        parts.append("Writers are not known: each page counts as its own writer.")
    sys.stdout.write("\n\n".join(part for part in parts if part) + "\n")


def _plain(row: dict) -> dict:
    return {**row, "writer_interval": [float(v) if np.isfinite(v) else None for v in row["writer_interval"]]}
