"""A page of handwriting: text laid out right to left in a writer's hand, drawn in ink on paper, and scanned.

Everything is drawn at the page's own resolution: strokes are stamped as discs with sub-pixel coverage, so lines are
anti-aliased and their width can follow pressure.
"""

import numpy as np

from age_keras.data.synthetic.hebrew_strokes import LETTERS, polygon_basis, pseudo_words, spline_basis
from age_keras.data.synthetic.scan import draw_rules, scan, stamp_discs, tilted
from age_keras.data.synthetic.writer import PIXELS_PER_MM, WriterStyle

_STEP = 0.7  # pixels between two stamps


def draw_page(style: WriterStyle, rng: np.random.Generator) -> np.ndarray:
    """Draws one page.

    Args:
        style: The writer's.
        rng: Everything that differs between two pages of one writer comes from it.

    Returns:
        uint8 (height, width), grey values of a scan at 150 dpi; about 1750 x 1240.
    """
    tilt = rng.normal(0, 0.006)  # Nobody lays a sheet straight on the glass.
    lines = _line_positions(style)
    strokes = _write_lines(style, lines, rng)
    x, y, radius, opacity = _ink_trace(style, strokes, rng)
    x, y = tilted(style, x, y, tilt)
    width, height = style.page_size
    ink = stamp_discs((height, width), x, y, radius, opacity)
    return scan(style, ink, draw_rules(style, lines, tilt), rng)


def _line_positions(style: WriterStyle) -> np.ndarray:
    """Baselines in pixels from the top. On ruled paper a large hand leaves out every second rule."""
    _, height = style.page_size
    gap = style.line_gap
    if style.rule_gap:
        gap = style.rule_gap * max(1, round(gap / style.rule_gap))
    first = (style.margins[2] + style.x_height) * PIXELS_PER_MM
    return np.arange(first, height - 14 * PIXELS_PER_MM, gap * PIXELS_PER_MM)


def _write_lines(style: WriterStyle, lines: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Lays out text. Returns strokes in writing order: points (n, 2) in pixels, and the pen's pressure (1 is usual)."""
    page_width, _ = style.page_size
    unit = style.x_height * PIXELS_PER_MM
    # Who writes large writes fewer words: the ink on a page, and so the size of its file, tells nothing.
    words = iter(pseudo_words(rng, round(rng.uniform(360, 900) / style.x_height)))
    left = style.margins[1] * PIXELS_PER_MM
    slope_of_page = style.slope + rng.normal(0, 0.004)
    strokes: list[tuple[np.ndarray, float]] = []
    word = next(words, None)
    for number, baseline in enumerate(lines):
        drift = style.margin_drift * number / max(1, len(lines) - 1) + rng.normal(0, 1.0)
        start = page_width - (style.margins[0] + drift) * PIXELS_PER_MM
        slope = slope_of_page + rng.normal(0, style.slope_noise)
        wander = _smooth_noise(rng, page_width, 170) * style.baseline_wander * unit
        lift = rng.normal(0, 0.04) * unit
        cursor = start
        end = left + abs(rng.normal(0, 5)) * PIXELS_PER_MM
        while word is not None:
            if cursor < start and cursor - _word_width(style, word) * unit < end:
                break
            joint = None
            for letter in word:
                size = unit * np.exp(rng.normal(0, style.size_noise))
                cursor -= _width(style, letter) * size
                x = int(np.clip(cursor, 0, page_width - 1))
                y = baseline + lift + wander[x] - slope * (start - cursor) + rng.normal(0, style.baseline_noise) * unit
                drawn = _draw_letter(style, letter, size, cursor, y, rng)
                if joint is not None and rng.random() < style.connection:
                    strokes += _join(joint, drawn[0][0], unit)
                strokes += [(points, 1.0) for points in drawn]
                joint = drawn[-1][-1]
                cursor -= style.letter_gap * unit * np.exp(rng.normal(0, style.gap_noise))
            cursor -= style.word_gap * unit * np.exp(rng.normal(0, 0.7 * style.gap_noise))
            ends_paragraph = word.endswith(".") and rng.random() < 0.12
            word = next(words, None)
            if ends_paragraph:
                break
        if word is None:
            break
    return strokes


def _width(style: WriterStyle, letter: str) -> float:
    return LETTERS[letter].width * style.width


def _word_width(style: WriterStyle, word: str) -> float:
    return sum(_width(style, letter) + style.letter_gap for letter in word)


def _draw_letter(
    style: WriterStyle, letter: str, size: float, x: float, y: float, rng: np.random.Generator
) -> list[np.ndarray]:
    slant = style.slant + rng.normal(0, style.slant_noise)
    drawn = []
    for shape in style.shapes[letter]:
        points = shape + rng.normal(0, style.shape_noise, shape.shape)
        corner = np.all(shape[1:] == shape[:-1], axis=1)
        points[1:][corner] = points[:-1][corner]
        n = len(points)
        curve = ((1 - style.angularity) * spline_basis(n) + style.angularity * polygon_basis(n)) @ points
        up = curve[:, 1]
        up = np.where(up > 1, 1 + (up - 1) * style.ascent, np.where(up < 0, up * style.ascent, up))
        drawn.append(np.stack([x + size * (style.width * curve[:, 0] + slant * up), y - size * up], axis=1))
    return drawn


def _join(end: np.ndarray, start: np.ndarray, unit: float) -> list[tuple[np.ndarray, float]]:
    """The light stroke by which a quick hand goes on to the next letter; none where that is far off."""
    if np.hypot(*(start - end)) > 1.1 * unit:
        return []
    middle = (end + start) / 2 + (0, 0.12 * unit)
    t = np.linspace(0, 1, 8)[:, None]
    return [((1 - t) ** 2 * end + 2 * t * (1 - t) * middle + t**2 * start, 0.7)]


def _ink_trace(
    style: WriterStyle, strokes: list[tuple[np.ndarray, float]], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Follows the pen over the page: where it is every 0.7 pixels, how wide and how dark it writes (float arrays)."""
    points = np.concatenate([p for p, _ in strokes])
    stroke = np.repeat(np.arange(len(strokes)), [len(p) for p, _ in strokes])
    inside = stroke[1:] == stroke[:-1]
    start, step, stroke = points[:-1][inside], np.diff(points, axis=0)[inside], stroke[:-1][inside]
    length = np.hypot(*step.T)
    stamps = np.maximum(1, np.ceil(length / _STEP)).astype(int)
    segment = np.repeat(np.arange(len(stamps)), stamps)
    t = (np.arange(len(segment)) - np.repeat(np.cumsum(stamps) - stamps, stamps)) / stamps[segment]
    x, y = (start[segment] + t[:, None] * step[segment]).T
    distance = (np.cumsum(length) - length)[segment] + t * length[segment]
    stroke = stroke[segment]

    # Tremor: f Hz at a pen speed of v mm/s is a wave of v / f mm on paper, with a wandering phase.
    wave = style.speed / style.tremor_frequency * PIXELS_PER_MM
    total = int(distance[-1]) + 2
    for axis in (x, y):
        phase = 2 * np.pi * distance / wave + np.interp(distance, np.arange(total), _smooth_noise(rng, total, 90)) * 2.5
        axis += style.tremor * PIXELS_PER_MM * np.sin(phase) + 0.12 * _along(rng, distance, total, 5)

    # Pressure: slow changes along the text, quick ones within a stroke, less where the pen lands and leaves.
    firmness = np.array([p for _, p in strokes])[stroke]
    pressure = 1 + style.pressure_noise * (0.7 * _along(rng, distance, total, 400) + _along(rng, distance, total, 22))
    edges = np.flatnonzero(np.diff(stroke)) + 1
    first = distance[np.concatenate([[0], edges])]
    last = distance[np.concatenate([edges - 1, [len(stroke) - 1]])]
    rank = np.cumsum(np.concatenate([[0], np.diff(stroke) != 0]))
    reach = 0.8 * PIXELS_PER_MM
    landing = np.clip((distance - first[rank]) / (0.5 * reach) + 0.45, 0, 1)
    leaving = np.clip((last[rank] - distance) / reach + 0.1, 0, 1)
    pressure = np.clip(pressure * firmness * (1 - style.taper * (1 - landing * leaving)), 0.15, 1.6)
    radius = style.pen_radius * PIXELS_PER_MM * np.clip(0.55 + 0.45 * pressure, 0.5, 1.3)
    opacity = np.clip(style.ink * (0.45 + 0.55 * pressure), 0.08, 0.99)
    return x, y, radius, opacity


def _smooth_noise(rng: np.random.Generator, length: int, scale: float) -> np.ndarray:
    """Noise of unit variance over `length` pixels that changes over about `scale` pixels."""
    knots = rng.normal(0, 1.2, int(length / scale) + 3)
    t = np.arange(length) / scale
    i = t.astype(int)
    weight = (1 - np.cos(np.pi * (t - i))) / 2
    return knots[i] * (1 - weight) + knots[i + 1] * weight


def _along(rng: np.random.Generator, distance: np.ndarray, total: int, scale: float) -> np.ndarray:
    return _smooth_noise(rng, total, scale)[distance.astype(int)]
