"""The audit of a run: its models on its own pages, its file of verdicts."""

import re
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate
from tqdm import tqdm

from age_keras.data.patches.pages import scale_page
from age_keras.deploy.predictor import Predictor
from age_keras.errors import InputError
from age_keras.explain.audit.metadata import file_facts
from age_keras.explain.audit.suspicions import Suspicion, judge_attribution, judge_files, judge_pixels, probe_pages
from age_keras.explain.audit.zones import ZONES, zones_of
from age_keras.explain.cam import Explainer
from age_keras.explain.page import explain_page
from age_keras.files import atomic_write, write_json
from age_keras.predictions.table import read_predictions, select
from age_keras.run.folder import Run

MAPPED = 6  # Pages whose maps are laid over the zones.


def audit_run(
    run: str | Path,
    model: str | None = None,
    data: Path | None = None,
    pages: int = 40,
    seed: int = 0,
    progress: bool = True,
) -> list[Suspicion]:
    """Audits a run and writes `audit.md` and `audit.json` into its folder.

    Args:
        run: The folder, with `predictions.csv` and `checkpoints/`.
        model: A name in `predictions.csv`. Defaults to the one with the smallest error.
        data: The folder of the pages. Defaults to the run's own.
        pages: How many scored pages the model is probed on, at most, drawn at random.
        seed: Seed of what is drawn.
        progress: Show a bar.

    Raises:
        InputError: The folder is no run, or its pages or models are gone.
    """
    folder = Run(Path(run))
    table = select(read_predictions(folder.path))
    model = model or best_model(table)
    if model not in set(table.Model):
        raise InputError(f"{run} has no model {model!r}: it has {', '.join(sorted(table.Model.unique()))}.")
    rows = table[table.Model == model]
    root = pages_folder(folder, data)
    rows = rows[[(root / name).is_file() for name in rows.ImageID]]
    if rows.empty:
        raise InputError(f"None of the run's pages lies in {root}: give their folder by --data.")
    drawn = rows.sample(min(pages, len(rows)), random_state=seed)
    probes, fractions, areas, synthetic = [], [], [], False
    for checkpoint, part in checkpoints_of(folder, model, drawn):
        predictor = Predictor(checkpoint)
        explainer, settings = Explainer(predictor.model, predictor.facts["name"]), predictor.settings
        synthetic = predictor.synthetic
        paths = [root / name for name in part.ImageID]
        probes.append(probe_pages(explainer.ages, paths, settings, seed, _bar(progress, checkpoint.stem)))
        for path in paths[: max(1, MAPPED // max(1, len(set(drawn.Fold))))]:
            fraction, area = _attribution(explainer, path, settings)
            fractions.append(fraction)
            areas.append(area)
    probed = pd.concat(probes, ignore_index=True)
    found = judge_pixels(probed)
    found.append(judge_attribution(*(pd.DataFrame(part).mean().to_dict() for part in (fractions, areas))))
    labels = _labels(folder, rows, root)
    found += judge_files(
        _facts(labels, root), labels["TrueAge"].to_numpy(), labels["Writer"].to_numpy(), labels["Prediction"].to_numpy()
    )
    _write(folder, model, found, len(drawn), len(labels), synthetic)
    return found


def checkpoints_of(run: Run, model: str, rows: pd.DataFrame) -> list[tuple[Path, pd.DataFrame]]:
    """Each of a model's checkpoints with the pages that it did not learn from.

    Raises:
        InputError: There is no checkpoint.
    """
    files = sorted((run.path / "checkpoints").glob("*.keras"))
    own = [f for f in files if f.stem == model or f.stem.startswith(f"{model}-")] or (files if len(files) == 1 else [])
    if not own:
        raise InputError(f"{run.path} has no checkpoints/{model}.keras: train with a run that keeps its models.")
    folds = {int(match[1]): f for f in own if (match := re.search(r"fold(\d+)$", f.stem))}
    if not folds:
        return [(own[0], rows)]
    return [(folds[fold], part) for fold, part in rows.groupby("Fold") if fold in folds]


def pages_folder(run: Run, data: Path | None) -> Path:
    """Where a run's pages lie. Raises `InputError` where that is not known or gone."""
    root = data or run.read_json("environment.json").get("data_folder")
    if not root or not Path(root).is_dir():
        raise InputError(f"The pages of {run.path} are not at {root}: give their folder by --data.")
    return Path(root)


def best_model(table: pd.DataFrame) -> str:
    """The model with the smallest mean absolute error."""
    return (table.Prediction - table.TrueAge).abs().groupby(table.Model).mean().idxmin()


def _bar(progress: bool, title: str):
    return lambda pages: tqdm(pages, desc=f"auditing {title}", unit="page", file=sys.stderr, disable=not progress)


def _attribution(explainer, path: Path, settings) -> tuple[dict[str, float], dict[str, float]]:
    page = explain_page(explainer, path, settings)
    values = np.abs(np.nan_to_num(page.values))
    zones = zones_of(scale_page(path, settings))
    seen = np.isfinite(page.values)
    total = max(float(values.sum()), 1e-12)
    return (
        {z: float(values[zones[z]].sum() / total) for z in ZONES},
        {z: float((zones[z] & seen).sum() / seen.sum()) for z in ZONES},
    )


def _labels(run: Run, rows: pd.DataFrame, root: Path) -> pd.DataFrame:
    """All labelled pages of the run, also those it was trained on; `Prediction` is NaN there."""
    columns = ["ImageID", "TrueAge", "Writer", "Prediction", *(c for c in ("Source",) if c in rows)]
    parts = [rows[columns]]
    if (run.path / "train_labels.csv").is_file():
        train = pd.read_csv(run.path / "train_labels.csv", dtype={"Writer": str}).rename(columns={"Age": "TrueAge"})
        parts.append(train[[c for c in columns if c in train]])
    table = pd.concat(parts, ignore_index=True).drop_duplicates("ImageID").dropna(subset="TrueAge")
    table["Writer"] = table["Writer"].astype(str)
    return table[[(root / name).is_file() for name in table.ImageID]].reset_index(drop=True)


def _facts(labels: pd.DataFrame, root: Path) -> pd.DataFrame:
    facts = pd.DataFrame([file_facts(root / name) for name in labels.ImageID])
    if "Source" in labels:
        facts = facts.join(pd.get_dummies(labels["Source"].fillna("unknown"), prefix="source", dtype=float))
    return facts


def _write(run: Run, model: str, found: list[Suspicion], probed: int, labelled: int, synthetic: bool) -> None:
    confirmed = [s for s in found if s.found]
    said = {0: "No suspicion was confirmed", 1: "One suspicion was confirmed"}
    verdict = said.get(len(confirmed), f"{len(confirmed)} suspicions were confirmed")
    verdict += f": {', '.join(s.name for s in confirmed)}." if confirmed else "."
    mark = {True: "**found**", False: "no", None: "?"}
    table = tabulate(
        [[s.name, mark[s.found], s.verdict] for s in found], ["suspicion", "found", "verdict"], tablefmt="github"
    )
    notes = f"Of {model}, probed on {probed} scored pages; the files of {labelled} pages."
    if synthetic:
        notes += " The model was trained on synthetic pages: this says nothing about real handwriting."
    text = f"{verdict}\n\n# Audit of {run.path.name}\n\n{notes}\n\n{table}\n\nWhat each means: docs/explain.md.\n"
    with atomic_write(run.path / "audit.md") as file:
        file.write(text)
    write_json(
        run.path / "audit.json",
        {
            "model": model,
            "verdict": verdict,
            "synthetic": synthetic,
            "pages_probed": probed,
            "pages_of_files": labelled,
            "suspicions": [asdict(s) for s in found],
        },
    )
