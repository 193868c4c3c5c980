"""Made-up writers: how old they are, and how each one writes.

A style is a person's own, moved by age. Age acts through three curves: `childhood`, which falls from 1 at 8 years to 0
at about 15 (large, irregular letters, uneven baseline and spacing that shrink and settle), `practice`, which rises
through youth (smaller, narrower letters, more of them joined), and `senescence`, which rises slowly from 35 years on
(smaller strokes: Asci et al. 2022; slower by up to 1.6: Dixon et al. 1993; tremor of roughly 4-12 Hz; lower pressure;
more variable letter size and alignment). Writers of one age differ in every trait, and the curves follow the hand's
age, not the calendar: many a hand of forty looks like one of twenty or of sixty. Paper, pen, margins and scanner are
drawn apart from age.

Lengths are in millimetres on paper, or in x-heights where a name says so.
"""

from dataclasses import dataclass

import numpy as np

from age_keras.bands import BAND_EDGES, band_index
from age_keras.data.synthetic.hebrew_strokes import LETTERS

DPI = 150  # Of every scan.
PIXELS_PER_MM = DPI / 25.4
YOUNGEST, OLDEST = 8, 91
# Share of writers and (age, density) knots: the shape of HHD-Age (most writers at 14 and 15, a thin tail of adults),
# with the fraction over 50 raised from 1 to 9 % and the tail drawn out to 91.
_AGE_FRACTIONS = (
    (0.06, ((8, 1), (11, 2), (12, 3))),
    (0.47, ((12, 1), (13, 3), (14, 9), (15, 8), (16, 0))),
    (0.28, ((16, 9), (17, 5), (19, 2.5), (22, 2.5), (26, 1))),
    (0.10, ((26, 5), (30, 2), (42, 2), (51, 1.5))),
    (0.09, ((51, 3), (65, 3), (80, 2.5), (92, 0.7))),
)


def age_at(quantile: float) -> int:
    """The age in whole years below which a fraction `quantile` of the cohort's writers lies.

    Example:
        >>> age_at(0.0), age_at(0.5), age_at(0.9999)
        (8, 15, 91)
    """
    for fraction, knots in _AGE_FRACTIONS:
        if quantile < fraction:
            ages = np.linspace(knots[0][0], knots[-1][0], 1001)
            density = np.interp(ages, *np.transpose(knots))
            cumulative = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
            age = np.interp(quantile / fraction, cumulative / cumulative[-1], ages)
            return int(np.clip(age, YOUNGEST, OLDEST))
        quantile -= fraction
    return OLDEST


def age_group(age: float) -> int:
    """HHD-Age's age group, 1 to 4."""
    return 1 + int(band_index(np.array(age), BAND_EDGES))


def childhood(age: float) -> float:
    """How far a hand is from being settled: 1 at 8 years, 0 from 15.5 on."""
    return float(np.clip((15.5 - age) / 7.5, 0, 1.3) ** 1.2)


def practice(age: float) -> float:
    """How fluent a hand is: 0 up to 13 years, 1 from 30 on. Grown-ups write smaller, join more, take more liberties."""
    return float(np.clip((age - 13) / 17, 0, 1))


def senescence(age: float) -> float:
    """How far a hand has aged: 0 up to 35 years, 1 at 80."""
    return float(np.clip((age - 35) / 45, 0, 1.4))


@dataclass(frozen=True)
class WriterStyle:
    """Everything that stays the same on all pages of one writer."""

    # The hand.
    x_height: float  # mm
    width: float  # of letters, relative to the skeletons
    slant: float  # tangent; positive leans to the right
    angularity: float  # 0 round splines, 1 straight lines, below 0 rounder than round
    shapes: dict[str, tuple[np.ndarray, ...]]  # this writer's control points of every letter's strokes, x-heights
    ascent: float  # how far ascenders and descenders reach, relative to the skeletons
    letter_gap: float  # x-heights
    word_gap: float  # x-heights
    line_gap: float  # line spacing, mm
    connection: float  # probability that a letter is joined to the next
    # Its regularity: standard deviations.
    shape_noise: float  # of a control point, x-heights
    size_noise: float  # of log letter size
    gap_noise: float  # of log gaps
    baseline_noise: float  # of one letter, x-heights
    baseline_wander: float  # along a line, x-heights
    slope: float  # of lines, tangent; positive rises towards the left
    slope_noise: float
    slant_noise: float
    # Its movement.
    tremor: float  # amplitude, mm
    tremor_frequency: float  # Hz
    speed: float  # mm/s
    taper: float  # fraction of pen width lost where a stroke begins and ends
    pressure_noise: float
    # Pen and paper.
    pen_radius: float  # mm
    ink: float  # opacity at mean pressure, 0-1
    ink_tone: float  # grey value of solid ink
    ink_grain: float  # how strongly the paper's grain breaks the ink
    paper_tone: float
    paper_grain: float
    rule_gap: float  # mm; 0 is plain paper
    rule_strength: float
    margins: tuple[float, float, float]  # right, left, top; mm
    margin_drift: float  # how far the right margin moves over a page, mm
    page_size: tuple[int, int]  # width, height; pixels
    blur: float  # of the scanner, pixels
    scan_noise: float
    shading: float


def draw_style(rng: np.random.Generator, age: float) -> WriterStyle:
    """Draws the style of one writer of the given age (years).

    What belongs to the desk (pen, paper, scanner) is drawn first and never looks at age.
    """
    desk = _draw_desk(rng)
    child = childhood(age + rng.normal(0, 1.2))
    adult = practice(age * np.exp(rng.normal(0, 0.12)))
    old = senescence(age + rng.normal(0, 1 + 0.07 * age))
    care = rng.normal()  # A careless hand of thirty is less regular than a careful one of ten.

    def spread(deviation: float) -> float:
        return float(np.exp(deviation * rng.normal()))

    def irregular(deviation: float, of_child: float, of_old: float) -> float:
        z = 0.65 * care + 0.75 * rng.normal()
        return float(np.exp(deviation * z + of_child * child + of_old * old))

    x_height = 4.0 * spread(0.15) * np.exp(0.42 * child - 0.17 * adult - 0.33 * old)
    return WriterStyle(
        x_height=x_height,
        width=0.98 * spread(0.12) * np.exp(0.10 * child - 0.06 * adult),
        slant=rng.normal(0.03, 0.13),
        angularity=float(np.clip(rng.normal(0.02 + 0.06 * adult, 0.16), -0.2, 0.6)),
        shapes=_draw_shapes(rng, 0.05 * (1 + 0.3 * adult)),
        ascent=spread(0.13),
        letter_gap=0.23 * spread(0.22) * np.exp(0.12 * child - 0.10 * adult),
        word_gap=0.80 * spread(0.2) * np.exp(0.2 * child),
        line_gap=(4.6 + 1.25 * x_height) * spread(0.10),
        connection=float(1 / (1 + np.exp(2.9 - 0.9 * rng.normal() - 1.9 * adult + 0.8 * child + 0.4 * old))),
        shape_noise=0.022 * irregular(0.40, 0.80, 0.80),
        size_noise=0.045 * irregular(0.42, 0.95, 1.05),
        gap_noise=0.20 * irregular(0.25, 0.55, 0.35),
        baseline_noise=0.033 * irregular(0.46, 1.05, 1.15),
        baseline_wander=0.09 * irregular(0.40, 0.95, 0.75),
        slope=rng.normal(0.004, 0.010),
        slope_noise=0.0045 * irregular(0.4, 0.6, 0.4),
        slant_noise=0.030 * irregular(0.30, 0.6, 0.4),
        tremor=0.024 * spread(0.75) * np.exp(0.5 * child + 1.9 * old),
        tremor_frequency=rng.uniform(4, 12),
        speed=32 * spread(0.2) / (1 + 0.4 * child + 0.6 * old),
        taper=float(np.clip(rng.normal(0.28 - 0.08 * child + 0.24 * adult - 0.10 * old, 0.11), 0.1, 0.75)),
        pressure_noise=0.10 * irregular(0.25, 0.3, 0.5),
        **desk
        | {
            "pen_radius": desk["pen_radius"] * np.exp(-0.20 * old),
            "ink": float(np.clip(desk["ink"] * np.exp(0.10 * rng.normal() - 0.32 * old), 0.3, 0.98)),
        },
    )


# Pens: fraction, radius (mm), opacity, grey value of the ink, grain.
_PENS = (
    (0.55, 0.21, 0.86, 62, 0.35),  # blue ballpoint
    (0.22, 0.22, 0.90, 38, 0.30),  # black ballpoint
    (0.13, 0.25, 0.95, 34, 0.12),  # gel pen
    (0.10, 0.22, 0.72, 78, 0.70),  # pencil
)


def _draw_desk(rng: np.random.Generator) -> dict:
    _, radius, ink, tone, grain = _PENS[rng.choice(len(_PENS), p=[pen[0] for pen in _PENS])]
    ruled = rng.random() < 0.45
    return {
        "pen_radius": radius * np.exp(0.13 * rng.normal()),
        "ink": float(np.clip(ink + 0.05 * rng.normal(), 0.5, 0.97)),
        "ink_tone": tone + 10 * rng.normal(),
        "ink_grain": grain * np.exp(0.2 * rng.normal()),
        "paper_tone": float(np.clip(rng.normal(240, 5), 224, 250)),
        "paper_grain": rng.uniform(0.8, 2.0),
        "rule_gap": float(rng.choice([7.5, 8.0, 8.5, 9.0])) if ruled else 0.0,
        "rule_strength": rng.uniform(0.10, 0.26),
        "margins": (rng.uniform(10, 26), rng.uniform(8, 24), rng.uniform(13, 32)),
        "margin_drift": rng.normal(0, 3.5),
        "page_size": (int(rng.integers(1216, 1265)), int(rng.integers(1716, 1785))),
        "blur": rng.uniform(0.45, 0.8),
        "scan_noise": rng.uniform(0.8, 2.2),
        "shading": rng.uniform(1, 9),
    }


def _draw_shapes(rng: np.random.Generator, deviation: float) -> dict[str, tuple[np.ndarray, ...]]:
    shapes = {}
    for name, letter in LETTERS.items():
        stretch = np.exp(rng.normal(0, (0.10, 0.05)))  # Everybody has letters that are too wide or too low.
        strokes = []
        for stroke in letter.strokes:
            points = np.array(stroke)
            moved = points * stretch + rng.normal(0, deviation, points.shape)
            corner = np.all(points[1:] == points[:-1], axis=1)
            moved[1:][corner] = moved[:-1][corner]
            strokes.append(moved)
        shapes[name] = tuple(strokes)
    return shapes
