"""Is one model better than another, or could it be chance? Paired bootstrap over writers, Holm's correction."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

# The matrices are small: threads would cost more time than they save.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import tyro
from annotated_types import Ge

from age_keras.config.settings import Seed
from age_keras.errors import InputError
from age_keras.evaluation.comparison.comparison import compare_files
from age_keras.evaluation.comparison.table import as_csv, as_json, as_markdown
from age_keras.files import writing


def main(
    predictions: tyro.conf.Positional[tuple[Path, ...]],
    by: Literal["writer", "page"] = "writer",
    metric: Literal["MAE", "RMSE", "R2", "MAPE", "Acc_2yr", "Acc_5yr", "Acc_10yr", "Bias"] = "MAE",
    reference: str | None = None,
    train: Path | None = None,
    split: str | None = None,
    resamples: Annotated[int, Ge(100)] = 10_000,
    seed: Seed = 0,
    format: Literal["md", "csv", "json"] = "md",
    figure: Path | None = None,
) -> None:
    """Compares all models of the tables, and the constant that does best, pair by pair.

    Pages are matched by ImageID (and Fold where a page was scored several times).

    Args:
        predictions: Tables, long or wide, or runs' folders; one that holds several models is enough.
        by: Draw writers with all of their pages, or pages as if each had its own writer (as the published study did).
        metric: Metric whose difference is tested.
        reference: Compare with this model only; `constant` is the best constant. Defaults to all pairs.
        train: Labels that the models were trained on, for the constant.
        split: Split to compare on (train, val, test, oof). Defaults to test, or else oof.
        resamples: Number of resamples of the bootstrap.
        seed: Seed of the bootstrap.
        format: Output format; json has every figure.
        figure: PNG file to draw the critical differences into.
    """
    if not predictions:
        raise InputError("No predictions were given: name one or more tables, or runs' folders.")
    result = compare_files(
        predictions,
        metric=metric,
        by=by,
        reference=reference,
        train=train,
        split=split,
        resamples=resamples,
        seed=seed,
    )
    if figure:
        from age_keras.evaluation.comparison.critical_difference import critical_differences
        from age_keras.evaluation.report.figures import save

        with writing(figure):
            save(critical_differences(result), figure)
    if format == "json":
        sys.stdout.write(json.dumps(as_json(result), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    else:
        sys.stdout.write(as_csv(result) if format == "csv" else as_markdown(result))
