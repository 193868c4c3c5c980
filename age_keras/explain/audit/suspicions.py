"""Does a model read the writing, or margins, paper, lines, scanner marks, or the file? One verdict per suspicion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.config.pages import PageSettings
from age_keras.data.patches.ink import ink_mask, paper_colour
from age_keras.data.patches.pages import cut_scaled, patches_at, scale_page
from age_keras.explain.audit.metadata import Skill, columns_of, cross_validated_skill
from age_keras.explain.audit.zones import (
    ZONES,
    as_much_writing,
    change_stroke_width,
    erased,
    ink_alone,
    mean_stroke_width,
    paper_alone,
    zones_of,
)

ERASED = ("corners", "margins", "lines")
LARGE = 0.25  # of the spread of the answers, from which an effect counts
FOLLOWS = 0.5  # correlation from which one answer follows another
SURE = 0.01  # p-value below which it is no accident


@dataclass(frozen=True)
class Suspicion:
    """One suspicion and what became of it.

    Attributes:
        name: E.g. `corners`.
        found: Whether it was confirmed; None where it could not be tested.
        verdict: One sentence.
        figures: What it rests on.
    """

    name: str
    found: bool | None
    verdict: str
    figures: dict[str, float] = field(default_factory=dict)


def probe_pages(
    ages: Callable[[np.ndarray], np.ndarray],
    paths: Sequence[Path],
    settings: PageSettings,
    seed: int = 0,
    progress: Callable = lambda pages: pages,
) -> pd.DataFrame:
    """The model's answers for pages as they are and changed, a row for each page.

    Args:
        ages: Patches uint8 (P, S, S, C) to years (P,).
        paths: Paths of the pages.
        settings: How the model's patches are cut. The changed page is cut at the places of the unchanged one.
        seed: Seed of what is drawn.
        progress: Wraps the loop over pages.

    Returns:
        In years: `whole`; `without_<zone>` and `without_as_much_<zone>` for corners, margins and lines; `paper_alone`,
        `ink_alone`, `blank` (an even sheet of the page's paper), `thin`, `thick`. `ink_<zone>` and `area_<zone>` are
        fractions of the page's ink and area; `stroke_width` pixels; `tint_<channel>` the paper's colour.
    """
    rng, rows = np.random.default_rng(seed), []
    common = np.median([paper_colour(scale_page(path, settings)) for path in paths[:20]], axis=0)
    for path in progress(list(paths)):
        pixels = scale_page(path, settings)
        boxes, zones, ink = cut_scaled(pixels, settings).boxes, zones_of(pixels), ink_mask(pixels)
        versions = {"whole": pixels}
        for zone in ERASED:
            versions[f"without_{zone}"] = erased(pixels, zones[zone])
            versions[f"without_as_much_{zone}"] = erased(pixels, as_much_writing(pixels, zones, zone, rng))
        versions["paper_alone"] = paper_alone(pixels, rng)
        versions["ink_alone"] = ink_alone(pixels, common)
        versions["thin"], versions["thick"] = change_stroke_width(pixels, -1), change_stroke_width(pixels, 1)
        row = {name: float(ages(patches_at(page, boxes, settings)).mean()) for name, page in versions.items()}
        paper = paper_colour(pixels)
        sheet = np.broadcast_to(np.rint(paper), (1, settings.side, settings.side, settings.channels))
        row["blank"] = float(ages(sheet.astype(np.uint8))[0])
        row |= {f"ink_{zone}": float((ink & zones[zone]).sum() / max(ink.sum(), 1)) for zone in ZONES}
        row |= {f"area_{zone}": float(zones[zone].mean()) for zone in ZONES}
        row |= {f"tint_{i}": float(value) for i, value in enumerate(paper)}
        rows.append(row | {"stroke_width": mean_stroke_width(pixels)})
    return pd.DataFrame(rows)


def judge_pixels(probes: pd.DataFrame) -> list[Suspicion]:
    """The suspicions that are tested on pixels, from `probe_pages`."""
    spread = float(probes["whole"].std())
    found = [_zone(probes, zone, spread) for zone in ERASED]
    return [*found, _sheet(probes, "paper", spread), _sheet(probes, "blank", spread), _ink(probes), _strokes(probes)]


def judge_files(
    facts: pd.DataFrame, ages: np.ndarray, writers: np.ndarray, answers: np.ndarray | None = None, seed: int = 0
) -> list[Suspicion]:
    """The suspicions that need no model: how much of the age the file alone gives away.

    Args:
        facts: A row for each page, from `file_facts`, with `source_...` columns where there are sources.
        ages: True ages, (N,).
        writers: (N,).
        answers: The model's, (N,), NaN where it has none; says whether it uses what the file gives away.
        seed: Seed of the regressor.
    """

    def skill_of(name: str, target: np.ndarray) -> Skill:
        known = np.isfinite(target)
        return cross_validated_skill(columns_of(facts[known], name), target[known], np.asarray(writers)[known], seed)

    found = []
    for name in ("size", "resolution", "file size", "source", "all together"):
        skill, used = skill_of(name, ages), None
        content = name == "file size" and skill.found and not skill_of("excess", ages).found
        if answers is not None and skill.found and not content:
            used = skill_of(name, answers)
        found.append(_file(name, columns_of(facts, name), skill, used, content))
    return found


def judge_attribution(fractions: dict[str, float], areas: dict[str, float]) -> Suspicion:
    """Where the map of the model lies: fractions of the attribution and of the area by zone."""
    parts = ", ".join(f"{zone} {fractions[zone]:.0%} (area {areas[zone]:.0%})" for zone in ZONES)
    heavy = [z for z in ("corners", "margins", "lines") if fractions[z] >= LARGE and fractions[z] > 3 * areas[z]]
    said = f"much of the map lies on {' and '.join(heavy)}" if heavy else "the map lies where its area would put it"
    figures = {f"fraction_{z}": fractions[z] for z in ZONES} | {f"area_{z}": areas[z] for z in ZONES}
    return Suspicion("attribution", bool(heavy), f"Attribution by zone: {said}: {parts}.", figures)


def correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Pearson's r and its p-value; 0 and 1 where one does not vary."""
    from scipy.stats import pearsonr

    a, b = (np.asarray(x, float) for x in (a, b))
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if len(a) < 4 or a.std() < 1e-6 or b.std() < 1e-6:
        return 0.0, 1.0
    r, p = pearsonr(a, b)
    return float(r), float(p)


def _zone(probes: pd.DataFrame, zone: str, spread: float) -> Suspicion:
    change = probes["whole"] - probes[f"without_{zone}"]
    control = probes["whole"] - probes[f"without_as_much_{zone}"]
    effect, chance = (float(np.sqrt((c**2).mean())) for c in (change, control))
    found = effect > max(LARGE * spread, 0.5) and effect > 2 * chance
    name = {"corners": "what lies in the corners", "margins": "the margins", "lines": "ruled lines"}[zone]
    said = f"erasing {name} moves the answer by {effect:.1f} years, as much writing elsewhere by {chance:.1f}"
    verdict = f"The model reads {name}: {said}." if found else f"No sign that the model reads {name}: {said}."
    figures = {"effect": effect, "control": chance, "spread": spread, "ink": float(probes[f"ink_{zone}"].mean())}
    return Suspicion(zone, bool(found), verdict, figures)


def _sheet(probes: pd.DataFrame, name: str, spread: float) -> Suspicion:
    answers = probes["paper_alone" if name == "paper" else "blank"]
    r, p = correlation(answers, probes["whole"])
    varies = float(answers.std())
    found = r >= FOLLOWS and p < SURE and varies >= LARGE * spread
    what = "the paper without its ink" if name == "paper" else "an even sheet of each paper's colour"
    said = (
        f"its answers for {what} vary by {varies:.1f} years (whole pages {spread:.1f}) and follow those by r = {r:.2f}"
    )
    subject = "the paper" if name == "paper" else "the paper's tint"
    verdict = f"The model reads {subject}: {said}." if found else f"No sign that the model reads {subject}: {said}."
    figures = {"mean": float(answers.mean()), "deviation": varies, "spread": spread, "r": r, "p": p}
    return Suspicion("paper" if name == "paper" else "tint", bool(found), verdict, figures)


def _ink(probes: pd.DataFrame) -> Suspicion:
    """Whether the answers survive when only the ink is left."""
    r, p = correlation(probes["ink_alone"], probes["whole"])
    moved = float((probes["ink_alone"] - probes["whole"]).abs().mean())
    spread = float(probes["whole"].std())
    found = spread > 0.5 and r < FOLLOWS and moved > LARGE * spread and len(probes) >= 8
    said = f"on even paper they follow those for whole pages by r = {r:.2f} and move by {moved:.1f} years"
    verdict = f"The ink alone does not carry the answers: {said}." if found else f"The ink carries the answers: {said}."
    return Suspicion("ink alone", bool(found), verdict, {"r": r, "p": p, "moved": moved})


def _strokes(probes: pd.DataFrame) -> Suspicion:
    slope = float((probes["thick"] - probes["thin"]).mean() / 4)  # years for each pixel of width: two edges, two ways
    widths, spread = float(probes["stroke_width"].std()), float(probes["whole"].std())
    r, p = correlation(probes["stroke_width"], probes["whole"])
    effect = abs(slope) * widths
    found = effect >= LARGE * spread and effect > 0.25 and abs(r) >= FOLLOWS and p < SURE and r * slope > 0
    said = (
        f"a pixel more changes the answer by {slope:+.1f} years, widths differ by {widths:.1f} pixels between pages, "
        f"and the answers follow them by r = {r:.2f}"
    )
    start = "The model reads the width of strokes" if found else "No sign that the model lives on the width of strokes"
    figures = {"years_per_pixel": slope, "width_deviation": widths, "r": r, "p": p, "effect": effect}
    return Suspicion("stroke width", bool(found), f"{start}: {said}.", figures)


def _file(name: str, features: pd.DataFrame, skill: Skill, used: Skill | None, content: bool) -> Suspicion:
    title = {"size": "the page's size", "resolution": "the resolution", "file size": "the file's size"}.get(name, name)
    title = {"source": "the source", "all together": "all that the file says"}.get(name, title)
    if features.shape[1] == 0:
        return Suspicion(
            name, False, f"No sign that {title} gives age away: it is the same, or unknown, for all pages."
        )
    if not np.isfinite(skill.skill):
        return Suspicion(name, None, f"Whether {title} gives age away cannot be told: too few pages or writers.")
    said = f"from that alone ages are predicted to {skill.error:.1f} years, by the median to {skill.constant:.1f}"
    figures = {"error": skill.error, "constant": skill.constant, "skill": skill.skill, "low": skill.low}
    if not skill.found:
        return Suspicion(name, False, f"No sign that {title} gives age away: {said}.", figures)
    if content:
        verdict = f"No sign that {title} gives more of the age away than the amount of writing does: {said}."
        return Suspicion(name, False, verdict, figures)
    follows = ""
    if used is not None:
        follows = ", and the model's answers follow it" if used.found else ", yet the model's answers do not follow it"
    verdict = f"{title[0].upper()}{title[1:]} gives age away: {said}{follows}."
    return Suspicion(name, True, verdict, figures | ({"answers_skill": used.skill} if used else {}))
