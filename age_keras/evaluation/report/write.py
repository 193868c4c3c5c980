"""A run's report: the verdict first, then the tables, the figures, and how it was made."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.errors import InputError
from age_keras.evaluation.checks import Check, run_checks
from age_keras.evaluation.evaluate import Evaluation, evaluate
from age_keras.evaluation.groups import gaps
from age_keras.evaluation.intervals import table as interval_table
from age_keras.evaluation.intervals.figure import interval_calibration
from age_keras.evaluation.report import document, tables
from age_keras.evaluation.report.figures import Drawn, draw_figures, save
from age_keras.evaluation.report.learning_curves import learning_curves, read_history
from age_keras.evaluation.report.page_gallery import page_gallery
from age_keras.evaluation.report.verdict import verdict
from age_keras.evaluation.run_facts import RunFacts, run_facts
from age_keras.files import atomic_write, write_json
from age_keras.predictions.intervals import add_intervals, can_calibrate
from age_keras.predictions.labels import labels_of
from age_keras.predictions.table import read_predictions, select

_MOST_SKIPPED = 20  # Pages listed by name.


def write_report(
    run: str | Path,
    title: str,
    images: Callable[[str], Path | None] | None = None,
    train_labels: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
    bands: Sequence[float] | None = None,
    sections: Sequence[str] = (),
) -> Path:
    """Writes `report.md`, `figures/*.png` and `metrics.json` into a run's folder, from what the run left there.

    Args:
        run: the folder. `predictions.csv` is needed; `history.csv`, `config.json`, `environment.json` and
            `train_labels.csv` are used where they are.
        title: of the report. Where the run says that its pages are synthetic, the title does too.
        images: gives the path of the page with an ImageID, or None; for the pictures of pages. Defaults to no pictures.
        train_labels: the training pages: `ImageID`, `Age` (or `TrueAge`), `Writer`, and perhaps `Split`, `Sex`, `Hand`,
            `Source`. Defaults to `train_labels.csv`, else to what `predictions.csv` holds.
        notes: sentences that a reader should know.
        bands: Edges of the age bands in years. Defaults to those in the run's `config.json`.
        sections: Markdown that ends the report. Defaults to none.

    Returns:
        The path of `report.md`.

    Raises:
        InputError: the predictions are missing or cannot be judged, or nothing says which age bands to report.
    """
    run = Path(run)
    facts = run_facts(run)
    edges = facts.bands if bands is None else bands
    if edges is None:
        raise InputError(f"{run / 'config.json'} has no `bands` for the report: give the edges of the age bands.")
    frame = read_predictions(run)
    if facts.synthetic and "synthetic" not in title.lower():
        title += " (synthetic pages)"
    result = evaluate(
        frame,
        facts.labels if train_labels is None else labels_of(train_labels),
        by="fold" if _cross_validated(frame) else None,
        edges=edges,
        facts=facts,
    )
    checks = run_checks(result)
    write_json(run / "metrics.json", document.as_json(result, checks))
    figures = {drawn.path.stem: drawn for drawn in draw_figures(result, run / "figures")}
    figures |= _run_figures(run, frame, result, images)
    text = "\n\n".join([*_sections(run, title, result, checks, figures, facts, notes), *sections]) + "\n"
    with atomic_write(run / "report.md") as file:
        file.write(text)
    return run / "report.md"


def _cross_validated(frame: pd.DataFrame) -> bool:
    scored = frame[frame.Split == "oof"] if "test" not in set(frame.Split) else frame[frame.Split == "test"]
    return scored.Fold.nunique() > 1


def _run_figures(
    run: Path, frame: pd.DataFrame, result: Evaluation, images: Callable[[str], Path | None] | None
) -> dict[str, Drawn]:
    found: dict[str, Drawn] = {}
    if _bounded(result, result.best_model) and can_calibrate(frame):
        drawn = interval_calibration(lambda coverage: select(add_intervals(frame, coverage)))
        caption = (
            "Left: how many writers' ages lie within, against how many should; a calibrated model's points lie in the "
            "grey band 95 times in 100. Right: the width that it takes."
        )
        path = save(drawn, run / "figures" / "intervals.png")
        found["intervals"] = Drawn(path, "Calibration of the intervals", caption)
    history = read_history(run / "history.csv")
    curves = learning_curves(history) if history is not None else None
    if curves is not None:
        path = save(curves, run / "figures" / "learning_curves.png")
        caption = "Solid: training, dashed: validation; the dot is the best epoch; a dotted line parts the phases."
        found["learning_curves"] = Drawn(path, "Learning curves", caption)
    gallery = page_gallery(result, result.best_model, images) if images else None
    if gallery is not None:
        path = save(gallery, run / "figures" / "pages.png")
        caption = f"Of {result.models[result.best_model]}: the pages with the smallest errors, and with the largest."
        found["pages"] = Drawn(path, "Closest and farthest pages", caption)
    return found


def _sections(
    run: Path,
    title: str,
    result: Evaluation,
    checks: list[Check],
    figures: dict[str, Drawn],
    facts: RunFacts,
    notes: Sequence[str],
) -> list[str]:
    best = result.best_model
    name = result.models[best]
    parts = [verdict(result), f"# {title}", document.introduction(result), tables.metric_table(result)]
    parts += [f"> {note}" for note in notes]
    parts += ["## Checks", document.check_list(checks), "What each code means: docs/checks.md."]
    parts += [_image(figures["predicted_vs_true"])]
    parts += ["## Error by age band", tables.band_table(result), _image(figures["error_by_band"])]
    parts += ["## 95% intervals", document.interval_note(result), tables.interval_table(result)]
    if _bounded(result, best):
        parts += ["## Prediction intervals", interval_table.note(), interval_table.overall_table(result.aligned)]
        parts += [interval_table.warning(result.aligned)]
        parts += [f"### By age band: {name}", interval_table.band_table(result.aligned, best, result.edges)]
        parts += [_image(figures["intervals"])] if "intervals" in figures else []
    parts += [_image(figures["error_distribution"])]
    if result.folds is not None:
        parts += ["## Pooled", "All pages together, whatever their fold.", tables.pooled_table(result)]
    if result.n_writers < len(result.aligned.pages):
        parts += ["## By writer", "Each writer's pages averaged first.", tables.writer_table(result)]
    if result.sources:
        note = "Skill within each source, against the best constant of that source, with its 95% interval."
        parts += ["## Within each source", note, tables.source_table(result, [best])]
    if result.groups:
        parts += [f"## By group: {name}", document.group_note(), tables.group_table(result, best, groups="single")]
        parts += [_gap_sentences(result, best)]
        if any("×" in group["attribute"] for group in result.groups):
            crossed = tables.group_table(result, best, groups="crossed")
            parts += [f"<details><summary>Groups crossed</summary>\n\n{crossed}\n\n</details>"]
    if "learning_curves" in figures:
        parts += ["## Training", _image(figures["learning_curves"])]
    if "pages" in figures:
        parts += ["## Pages", _image(figures["pages"])]
    parts += ["## How it was made", _how(result, facts)]
    if skipped := [f"- {page}: {reason}" for page, reason in facts.skipped]:
        parts += [f"### Skipped pages ({len(skipped)})", "\n".join(skipped[:_MOST_SKIPPED])]
        if len(skipped) > _MOST_SKIPPED:
            parts += [f"and {len(skipped) - _MOST_SKIPPED} more, in environment.json."]
    if facts.config:
        settings = json.dumps(facts.config, indent=2, ensure_ascii=False)
        parts += [f"<details><summary>Configuration</summary>\n\n```json\n{settings}\n```\n\n</details>"]
    return [part for part in parts if part]


def _bounded(result: Evaluation, model: int) -> bool:
    """Whether a model's pages have intervals."""
    return result.aligned.lower is not None and bool(np.isfinite(result.aligned.lower[model]).any())


def _image(drawn: Drawn) -> str:
    return f"![{drawn.title}](figures/{drawn.path.name})\n\n*{drawn.title}.* {drawn.caption}"


def _gap_sentences(result: Evaluation, model: int) -> str:
    """The largest differences between groups, without those between age bands, which have their own table."""
    lines = []
    for gap in gaps(result.groups, len(result.models)):
        if gap["attribute"] in ("Sex", "Hand", "Source"):
            lines.append(
                f"- {gap['attribute']}: MAE {gap['MAE_gap'][model]:.2f} years larger for {gap['highest'][model]} "
                f"than for {gap['lowest'][model]}."
            )
    return "\n".join(lines)


def _how(result: Evaluation, facts: RunFacts) -> str:
    environment, rows = facts.environment, []
    if command := environment.get("command"):
        rows.append(["Command", f"`{command}`"])
    for key, value in environment.items():
        if "fingerprint" in key:
            rows.append([key.replace("_", " ").capitalize(), f"`{value}`"])
    rows += [["Pages", line] for line in _sizes(result)]
    if started := environment.get("started"):
        rows.append(["Started", ", ".join(started) if isinstance(started, list) else str(started)])
    if versions := environment.get("packages"):
        rows.append(["Versions", ", ".join(f"{name} {version}" for name, version in versions.items())])
    for key in ("python", "platform"):
        if key in environment:
            rows.append([key.capitalize(), str(environment[key])])
    return "\n".join(f"- {name}: {value}" for name, value in rows)


def _sizes(result: Evaluation) -> list[str]:
    """Pages, writers and ages of each split."""
    pages = result.aligned.pages
    lines = [f"scored ({result.split}): {_described(pages.TrueAge, pages.Writer)}"]
    if result.labels is not None:
        splits = result.labels.Split if "Split" in result.labels else pd.Series("train", index=result.labels.index)
        for split in [s for s in ("train", "val") if (splits == s).any() and s != result.split]:
            part = result.labels[splits == split]
            lines.append(f"{split}: {_described(part.TrueAge, part.Writer)}")
    if result.folds is not None:
        counts = pages.groupby("Fold").size()
        lines.append("folds: " + ", ".join(f"{fold}: {n} pages" for fold, n in counts.items()))
    return lines


def _described(ages: pd.Series, writers: pd.Series) -> str:
    values = np.asarray(ages, np.float64)
    return (
        f"{len(values):,} pages of {writers.nunique():,} writers, ages {values.min():g} to {values.max():g}, "
        f"median {np.median(values):g}"
    )
