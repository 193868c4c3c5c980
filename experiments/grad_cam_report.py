"""Pages of a run under their maps: which are shown, their pictures, and the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tabulate import tabulate
from tqdm import tqdm

from age_keras.bands import band_index, band_names
from age_keras.config.explain import GradCamConfig
from age_keras.data.patches.pages import cut_page
from age_keras.errors import InputError
from age_keras.evaluation.report.figures import new_figure, save
from age_keras.evaluation.run_facts import run_facts
from age_keras.explain.audit.run import best_model, checkpoints_of, pages_folder
from age_keras.explain.cam import Explainer
from age_keras.explain.faithfulness import Faithfulness, faithfulness, faithfulness_table
from age_keras.explain.page import PageMap, explain_page
from age_keras.explain.page_figure import TITLES, tinted_scan, write_png
from age_keras.explain.page_html import write_html
from age_keras.files import atomic_write
from age_keras.run.folder import Run


def explain_run(run: Run, table: pd.DataFrame, config: GradCamConfig) -> Path:
    """Explains the best and the worst pages of a run.

    Args:
        run: The run.
        table: Its predictions, among them those of the model that is explained.
        config: What is explained.

    Returns:
        The report's path.
    """
    model = config.model or best_model(table)
    root = pages_folder(run, config.data)
    rows = table[table.Model == model]
    rows = rows[[(root / name).is_file() for name in rows.ImageID]]
    if rows.empty:
        raise InputError(f"None of the run's pages lies in {root}: give their folder by --data.")
    bands = run_facts(run.path).bands
    if bands is None:
        raise InputError(
            f"{run.path / 'config.json'} has no `bands` to choose pages by: give the folder of an age run."
        )
    chosen, out = best_and_worst(rows, config.pages, bands), run.path / "grad_cam"
    shown, patches, synthetic = [], [], False
    explainer: Any = None
    for checkpoint, part in checkpoints_of(run, model, chosen):
        explainer, settings, synthetic = _explainer(checkpoint, config)
        for row in tqdm(list(part.itertuples()), desc=f"explaining {checkpoint.stem}", unit="page"):
            page = explain_page(explainer, root / row.ImageID, settings, config.method)
            name = row.ImageID.rsplit(".", 1)[0].replace("/", "_")
            write_png(page, settings, out / "pages" / f"{name}.png", model)
            write_html(page, settings, out / "pages" / f"{name}.html", model)
            scan = tinted_scan(page, settings)
            scan.thumbnail((500, 500))
            shown.append((row, page, name, np.asarray(scan)))
            cut = cut_page(page.path, settings).patches
            patches.append(cut[np.argsort(cut.mean(axis=(1, 2, 3)))[len(cut) // 2]])
    tested = (
        faithfulness(explainer, np.stack(patches[: config.patches]), methods=explainer.methods)
        if (config.patches and patches)
        else []
    )
    save(_gallery(shown, config.pages), out / "gallery.png")
    if config.tensorboard:
        _tensorboard(run.path / "tensorboard" / "grad_cam", shown)
    return _report(out, model, config, shown, tested, synthetic)


def best_and_worst(rows: pd.DataFrame, count: int, edges: Sequence[float]) -> pd.DataFrame:
    """The pages of each age band with the smallest and the largest errors, one page a writer.

    Returns:
        Rows with `band`, `band_name`, `rank` (`best` or `worst`) and `error` in years; no page stands twice.
    """
    band = band_index(rows.TrueAge.to_numpy(), edges)
    names = np.asarray(band_names(edges), dtype=object)[band]
    rows = rows.assign(error=rows.Prediction - rows.TrueAge, band=band, band_name=names)
    parts = []
    for _, own in rows.groupby("band"):
        ordered = own.iloc[own.error.abs().argsort(kind="stable")]
        best = ordered.drop_duplicates("Writer", keep="first")
        few = min(count, max(1, len(best) // 2))
        worst = ordered.iloc[::-1].drop_duplicates("Writer", keep="first")
        best = best.head(few)
        worst = worst[~worst.ImageID.isin(best.ImageID)].head(few)
        parts += [best.assign(rank="best"), worst.assign(rank="worst")]
    return pd.concat(parts)


def _explainer(checkpoint: Path, config: GradCamConfig):
    from age_keras.deploy.predictor import Predictor

    predictor = Predictor(checkpoint)
    explainer = Explainer(predictor.model, predictor.facts["name"], fused=config.layers)
    if config.method not in explainer.methods:
        raise InputError(f"{explainer.name} has no {config.method}: choose {', '.join(explainer.methods)}.")
    return explainer, predictor.settings, predictor.synthetic


def _gallery(shown: list[tuple[Any, PageMap, str, np.ndarray]], count: int):
    """A row for each age band: best pages left, worst right."""
    bands = sorted({row.band for row, *_ in shown})
    figure, axes = new_figure(len(bands), 2 * count, 2.5 * 2 * count, 3.9 * len(bands))
    for axis in axes.flat:
        axis.set_axis_off()
    for line, band in enumerate(bands):
        for start, rank in ((0, "best"), (count, "worst")):
            own = [item for item in shown if item[0].band == band and item[0].rank == rank]
            for place, (row, page, _, picture) in enumerate(own):
                axis = axes[line, start + place]
                axis.imshow(picture)
                axis.set_title(f"{row.band_name}, {rank}\ntrue {row.TrueAge:.3g}, predicted {page.age:.1f}", fontsize=9)
    return figure


def _tensorboard(folder: Path, shown: list[tuple[Any, PageMap, str, np.ndarray]]) -> None:
    import tensorflow as tf

    with tf.summary.create_file_writer(str(folder)).as_default():
        for row, page, name, picture in shown:
            title = f"{row.band_name}/{row.rank}/{name}"
            said = f"true {row.TrueAge:.3g}, predicted {page.age:.1f} years"
            tf.summary.image(title, picture[None], step=0, description=said)


def _report(out: Path, model: str, config: GradCamConfig, shown, tested: list[Faithfulness], synthetic: bool) -> Path:
    believed = [TITLES[r.method] for r in tested if not r.doubts]
    verdict = f"{len(shown)} pages explained by {TITLES[config.method]} of {model}."
    if tested:
        verdict += (
            f" Of {len(tested)} methods {', '.join(believed) or 'none'} deserve{'s' * (len(believed) < 2)} belief."
        )
    lines = [
        [
            row.band_name,
            row.rank,
            f"[{row.ImageID}](pages/{name}.html)",
            f"{row.TrueAge:.3g}",
            f"{page.age:.1f}",
            f"{page.age - row.TrueAge:+.1f}",
            f"{page.agreement:.2f}" if page.signed else "",
        ]
        for row, page, name, _ in shown
    ]
    head = ["band", "rank", "page", "true", "predicted", "error", "occlusion agreement"]
    parts = [verdict, f"# Where {model} sees age{' (synthetic pages)' if synthetic else ''}"]
    parts += ["![The pages under their maps](gallery.png)", "Orange looks older than empty paper, blue younger."]
    parts += ["## Pages", tabulate(lines, head, tablefmt="github", disable_numparse=True)]
    if tested:
        parts += [f"## Which maps deserve belief ({tested[0].patches} patches)", faithfulness_table(tested)]
        parts += ["What each column means: docs/explain.md."]
    with atomic_write(out / "report.md") as file:
        file.write("\n\n".join(parts) + "\n")
    return out / "report.md"
