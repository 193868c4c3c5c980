"""How often ages lie within their intervals, and how wide these are: overall, and by true and by predicted band."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from age_keras.bands import band_index, band_names
from age_keras.conformal.methods import OLDEST, YOUNGEST
from age_keras.evaluation.metrics import per_writer
from age_keras.evaluation.text import and_list, bounds, markdown, number
from age_keras.predictions.alignment import Aligned


def coverage_rows(aligned: Aligned, model: int, edges: Sequence[float]) -> list[dict[str, Any]]:
    """Coverage and width of one model's intervals.

    Args:
        aligned: Predictions with lower and upper bounds.
        model: Number of the model.
        edges: Edges of the age bands, see `band_index`.

    Returns:
        A dictionary for `all` pages, each true band and each band of predictions that has pages: `group`, `band`,
        `pages`, `writers`, `page_coverage` and `writer_coverage` (percent; the latter, where each writer counts once,
        is what conformal intervals promise), `writer_interval` (95 %, see `wilson`), `width` and `median_width`
        (years). Only pages with bounds count.
    """
    lower, upper = aligned.lower[model], aligned.upper[model]
    known = np.isfinite(lower) & np.isfinite(upper)
    true, said = (band_index(ages, edges) for ages in (aligned.truth, aligned.predictions[model]))
    groups = [("all", "all", known)]
    for name, bands in (("true age", true), ("predicted age", said)):
        groups += [(name, band, known & (bands == i)) for i, band in enumerate(band_names(edges))]
    rows = []
    for group, band, keep in groups:
        if not keep.any():
            continue
        inside = ((lower <= aligned.truth) & (aligned.truth <= upper))[keep]
        writers = np.unique(aligned.writers[keep], return_inverse=True)[1]
        covered = per_writer(inside[None], writers)[0]
        width = (upper - lower)[keep]
        rows.append(
            {
                "group": group,
                "band": band,
                "pages": int(keep.sum()),
                "writers": len(covered),
                "page_coverage": 100 * float(inside.mean()),
                "writer_coverage": 100 * float(covered.mean()),
                "writer_interval": 100 * wilson(float(covered.mean()), len(covered)),
                "width": float(width.mean()),
                "median_width": float(np.median(width)),
            }
        )
    return rows


def wilson(fraction: float, n: int) -> np.ndarray:
    """Wilson's 95 % interval of a fraction of n independent units (1927, JASA 22), float64 (2,), in [0, 1].

    Good near 0 and 1, where a bootstrap has no spread. Units that count in part (some of a writer's pages lie within)
    vary less than whole ones, so it is wide enough for them. (`scipy.stats` has it for whole counts only.)
    """
    z = 1.959963984540054
    centre = (fraction + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(fraction * (1 - fraction) / n + z**2 / (4 * n**2))
    return np.clip([centre - reach, centre + reach], 0, 1)


def overall_table(aligned: Aligned) -> str:
    """Coverage and width of every model over all pages."""
    rows = [
        _line(name, coverage_rows(aligned, model, ())[0])
        for model, name in enumerate(aligned.models)
        if np.isfinite(aligned.lower[model]).any()
    ]
    return markdown(["", *_HEADER], rows)


def band_table(aligned: Aligned, model: int, edges: Sequence[float]) -> str:
    """Coverage and width of one model by true band and by predicted band."""
    rows = coverage_rows(aligned, model, edges)
    lines = [_line("all pages" if r["group"] == "all" else f"{r['group']} {r['band']}", r) for r in rows]
    return markdown(["", *_HEADER], lines)


def note(coverage: float | None = None) -> str:
    """How the table is read."""
    aim = f"Intervals that are to hold the age of {coverage:.0%} of new writers. " if coverage else ""
    return (
        f'{aim}"Writers %" is the percentage of writers covered, which is what is guaranteed; "Pages %" is per page. '
        "Coverage is not guaranteed within an age band: a model that predicts near the mean misses older writers."
    )


def warning(aligned: Aligned) -> str:
    """Names the models with intervals that hold every age; empty where there are none."""
    wide = [
        name
        for name, low, high in zip(aligned.models, aligned.lower, aligned.upper, strict=True)
        if ((low <= YOUNGEST) & (high >= OLDEST)).any()
    ]
    if not wide:
        return ""
    return (
        f"Some intervals of {and_list(wide)} span 0 to 120 years, which says nothing: there are too few calibration "
        "writers (90 % needs 9, 95 % needs 19)."
    )


_HEADER = ["Pages", "Writers", "Pages %", "Writers %", "95% interval", "Mean width (years)", "Median width"]


def _line(name: str, row: dict[str, Any]) -> list[str]:
    return [
        name,
        str(row["pages"]),
        str(row["writers"]),
        number(row["page_coverage"], 1),
        number(row["writer_coverage"], 1),
        bounds(row["writer_interval"], 1),
        number(row["width"], 1),
        number(row["median_width"], 1),
    ]
