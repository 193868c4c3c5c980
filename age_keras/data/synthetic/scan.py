"""Ink, paper and scanner: from the path of a pen to the grey values of a scanned page."""

import cv2
import numpy as np

from age_keras.data.synthetic.writer import PIXELS_PER_MM, WriterStyle


def tilted(style: WriterStyle, x: np.ndarray, y: np.ndarray, tilt: float) -> tuple[np.ndarray, np.ndarray]:
    """Turns points (pixels) about the middle of the page by `tilt` radians."""
    cx, cy = style.page_size[0] / 2, style.page_size[1] / 2
    cos, sin = np.cos(tilt), np.sin(tilt)
    return cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos


def stamp_discs(
    shape: tuple[int, int], x: np.ndarray, y: np.ndarray, radius: np.ndarray, opacity: np.ndarray
) -> np.ndarray:
    """Stamps discs and keeps the darkest at each pixel, so that a stroke crossing another does not add up.

    Args:
        shape: (height, width) of the page in pixels.
        x, y, radius: Centre and radius of the discs, in pixels; float (n,).
        opacity: Opacity of the discs, 0-1; float (n,).

    Returns:
        float32 (height, width), 0 where there is no ink.
    """
    reach = int(np.ceil(radius.max() + 0.5)) if len(radius) else 1
    height, width = shape
    stride = width + 2 * reach
    page = np.zeros((height + 2 * reach) * stride, np.float32)
    offset = np.arange(-reach, reach + 1)
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    x, y, radius, opacity = (a[inside].astype(np.float32) for a in (x, y, radius, opacity))
    for i in range(0, len(x), 8192):  # Bounds the memory.
        part = slice(i, i + 8192)
        column, row = np.rint(x[part]).astype(np.int64), np.rint(y[part]).astype(np.int64)
        dx = (offset + (column - x[part])[:, None]).astype(np.float32)
        dy = (offset + (row - y[part])[:, None]).astype(np.float32)
        apart = np.sqrt(dx[:, None, :] ** 2 + dy[:, :, None] ** 2)
        cover = np.clip(radius[part, None, None] + 0.5 - apart, 0, 1) * opacity[part, None, None]
        corner = (row + reach) * stride + column + reach
        index = corner[:, None, None] + offset[:, None] * stride + offset
        hit = cover > 0
        np.maximum.at(page, index[hit], cover[hit])
    return page.reshape(height + 2 * reach, stride)[reach:-reach, reach:-reach]


def draw_rules(style: WriterStyle, lines: np.ndarray, tilt: float) -> np.ndarray | None:
    """The faint lines of ruled paper: float32 (height, width), their opacity; None on plain paper."""
    if not style.rule_gap:
        return None
    width, height = style.page_size
    gap = style.rule_gap * PIXELS_PER_MM
    rules = np.zeros((height, width), np.uint8)
    for y in np.arange(lines[0] + 2 - 2 * gap, height - 20, gap):
        xs, ys = tilted(style, np.array([-50.0, width + 50.0]), np.array([y, y]), tilt)
        ends = np.rint(np.stack([xs, ys], 1) * 16).astype(int)
        cv2.line(rules, ends[0].tolist(), ends[1].tolist(), 255, 1, cv2.LINE_AA, 4)
    return rules.astype(np.float32) * (style.rule_strength / 255)


def scan(style: WriterStyle, ink: np.ndarray, rules: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Puts ink on paper and the sheet on a scanner.

    Args:
        style: The writer's, of which only the pen, the paper and the scanner count here.
        ink: Opacity of the ink, float32 (height, width).
        rules: Opacity of the paper's rules, or None.
        rng: Generator of the grain, the light and the noise.

    Returns:
        uint8 (height, width), grey values.
    """
    height, width = ink.shape
    grain = rng.standard_normal((height, width), np.float32)
    fibres = cv2.GaussianBlur(grain, (5, 5), 0.9) * np.float32(2.6)  # About unit variance again.
    clouds = cv2.resize(rng.standard_normal((9, 7)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    page = cv2.addWeighted(fibres, style.paper_grain, clouds, 0.8, style.paper_tone)
    if rules is not None:
        page *= 1 - rules
    inked = ink > 0  # A twentieth of the page.
    paper = page[inked]
    broken = np.clip(1 - style.ink_grain * np.maximum(0, 0.55 * fibres[inked] - 0.1), 0.15, 1)
    page[inked] = paper + (style.ink_tone - paper) * ink[inked] * broken
    page = cv2.GaussianBlur(page, (5, 5), style.blur)
    page *= _shading(style, height, width, rng)
    # The scanner's noise, taken from the grain moved by half a page: as good as new, at no cost.
    cv2.scaleAdd(np.roll(grain, (height // 2, width // 2), (0, 1)), style.scan_noise, page, page)
    return cv2.convertScaleAbs(page)


def _shading(style: WriterStyle, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, and the shadow at the edge where the sheet does not lie flat."""
    angle = rng.uniform(0, 2 * np.pi)
    gx, gy = np.cos(angle) * style.shading / 255, np.sin(angle) * style.shading / 255
    across = 1 + gx * np.linspace(-1, 1, width, dtype=np.float32)
    down = 1 + gy * np.linspace(-1, 1, height, dtype=np.float32)
    shadow = 0.02 * style.shading * rng.uniform(0, 1)
    edge = np.exp(-np.arange(width, dtype=np.float32) / (6 + 2 * style.shading))
    across -= shadow * (edge if rng.random() < 0.5 else edge[::-1])
    return (across * down[:, None]).astype(np.float32)
