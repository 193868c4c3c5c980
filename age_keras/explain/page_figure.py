"""A page's map as a picture: the scan in full resolution, tinted, with its scale and its strongest patches."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from age_keras.config.pages import PageSettings
from age_keras.data.patches.decode import decode_page
from age_keras.data.patches.pages import scaled_size
from age_keras.explain.page import PageMap
from age_keras.files import atomic_write

# Okabe and Ito's vermilion and blue: told apart by colour-blind readers, and dark ink stays readable under both.
OLDER, YOUNGER, ATTENTION = (213, 94, 0), (0, 114, 178), (0, 158, 115)
INK, QUIET, SHEET = (34, 34, 34), (110, 110, 110), (255, 255, 255)
TITLES = {
    "grad_cam": "Grad-CAM",
    "grad_cam_plus_plus": "Grad-CAM++",
    "score_cam": "Score-CAM",
    "saliency": "Saliency",
    "smooth_grad": "SmoothGrad",
    "attention_rollout": "Attention roll-out",
}


def tint(levels: np.ndarray, signed: bool) -> np.ndarray:
    """Colours of a map that paper is multiplied with: levels in [-1, 1], (H, W), to uint8 (H, W, 3), white at 0."""
    ends = np.where((levels < 0)[..., None], YOUNGER, OLDER if signed else ATTENTION)
    return (255 - np.abs(levels)[..., None] * (255 - ends)).astype(np.uint8)


def colour_levels(page: PageMap, bare_paper: bool = False) -> np.ndarray:
    """The map as levels of the colour scale, float32 (H, W) in [-1, 1]; 0 on bare paper unless asked for."""
    levels = np.nan_to_num(page.values / page.limit).clip(-1, 1)
    return levels if bare_paper else levels * page.near_ink


def in_full(page: PageMap, values: np.ndarray, settings: PageSettings, size: tuple[int, int]) -> np.ndarray:
    """Values (H, W) or (H, W, 3) of the scaled page at the scan's own size (width, height)."""
    width, height = scaled_size(*size, settings)[0]  # what the page is filled up with lies beyond
    return cv2.resize(values[:height, :width], size, interpolation=cv2.INTER_LINEAR)


def tinted_scan(page: PageMap, settings: PageSettings) -> Image.Image:
    """The scan in its own resolution under the map's colours."""
    scan = np.asarray(decode_page(page.path, 3))
    size = scan.shape[1], scan.shape[0]
    colours = tint(in_full(page, colour_levels(page), settings, size), page.signed)
    return Image.fromarray(cv2.multiply(scan, colours, scale=1 / 255))


def page_picture(page: PageMap, settings: PageSettings, title: str = "") -> Image.Image:
    """The tinted scan with the strongest patches framed; to its right the answer, the scale and these patches.

    Args:
        page: The map.
        settings: How the model's patches are cut.
        title: A line above all, e.g. the model's name.
    """
    scan = tinted_scan(page, settings)
    unit = max(16, scan.width // 45)  # of type and rules, so that pages of any size look alike
    margin, column = unit, 15 * unit
    height = max(scan.height + 2 * margin, 34 * unit)
    sheet = Image.new("RGB", (scan.width + column + 3 * margin, height), SHEET)
    older, younger = page.top_patches()
    crops = {i: _crop(scan, page, settings, i) for i in (*older, *younger)}
    _frames(scan, page, settings, older, younger, unit)
    sheet.paste(scan, (margin, margin))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle([margin - 1, margin - 1, margin + scan.width, margin + scan.height], outline=(190, 190, 190))
    x, y = scan.width + 2 * margin, float(margin)
    y = _text(draw, x, y, f"{page.age:.1f} years", 1.9 * unit, INK)
    y = _text(draw, x, y, f"the mean of {len(page.patch_ages)} patches", 0.85 * unit, QUIET)
    y = _text(draw, x, y, f"{TITLES[page.method]}{', ' + title if title else ''}", 0.85 * unit, QUIET) + 0.6 * unit
    y = _scale(sheet, draw, page, x, y, column, unit) + 0.6 * unit
    for heading, chosen, colour in (("older", older, OLDER), ("younger", younger, YOUNGER)):
        if chosen:
            y = _text(draw, x, y, f"Patches that made it {heading}", 0.95 * unit, INK) + 0.2 * unit
            y = _row(sheet, draw, page, [(i, crops[i]) for i in chosen], x, y, column, unit, colour) + 0.6 * unit
    return sheet


def write_png(page: PageMap, settings: PageSettings, path: Path, title: str = "") -> Path:
    """Writes `page_picture` as PNG, atomically."""
    with atomic_write(path, "wb") as file:
        page_picture(page, settings, title).save(file, format="PNG", compress_level=3)
    return path


def scale_label(page: PageMap) -> str:
    """What the colours count."""
    if not page.signed:
        return "fraction of the attention"
    return "years per 1 % of the page" if page.in_years else "no unit: erasing does not follow this map"


def full_box(page: PageMap, settings: PageSettings, size: tuple[int, int], patch: int) -> tuple[int, int, int, int]:
    """A patch's frame on the scan of a size (width, height): left, top, right, bottom, in its pixels."""
    scaled = scaled_size(*size, settings)[0]
    x, y, w, h = page.boxes[patch]
    across, down = size[0] / scaled[0], size[1] / scaled[1]
    right, bottom = min(size[0], (x + w) * across), min(size[1], (y + h) * down)
    return round(x * across), round(y * down), round(right), round(bottom)


def _crop(scan: Image.Image, page: PageMap, settings: PageSettings, patch: int) -> Image.Image:
    return scan.crop(full_box(page, settings, scan.size, patch))


def _frames(scan, page, settings, older, younger, unit) -> None:
    draw = ImageDraw.Draw(scan)
    for chosen, colour in ((younger, YOUNGER), (older, OLDER)):
        for i in chosen:
            left, top, right, bottom = full_box(page, settings, scan.size, i)
            draw.rectangle([left, top, right - 1, bottom - 1], outline=colour, width=max(2, unit // 8))
            label = f"{page.influence[i]:+.2f}"
            font = _font(0.9 * unit)
            box = draw.textbbox((left, top), label, font=font)
            draw.rectangle([left, top, box[2] + unit * 0.4, box[3] + unit * 0.3], fill=colour)
            draw.text((left + unit * 0.2, top), label, font=font, fill="white")


def _scale(sheet, draw, page, x, y, column, unit) -> float:
    width, height = int(column), int(0.9 * unit)
    ends = (-1, 1) if page.signed else (0, 1)
    bar = tint(np.linspace(*ends, width)[None].repeat(height, 0), page.signed)
    sheet.paste(Image.fromarray(bar), (int(x), int(y)))
    draw.rectangle([x, y, x + width, y + height], outline=QUIET)
    y += height + 0.1 * unit
    if page.signed:
        marks = ("younger", "0", "older") if not page.in_years else (f"-{page.limit:.2g}", "0", f"+{page.limit:.2g}")
    else:
        marks = ("none", "", "most")
    font = _font(0.8 * unit)
    for place, mark in zip((0, 0.5, 1), marks, strict=True):
        draw.text((x + place * (width - draw.textlength(mark, font=font)), y), mark, font=font, fill=INK)
    y += 1.1 * unit
    if page.signed and page.in_years:
        draw.text((x, y), "younger", font=font, fill=YOUNGER)
        draw.text((x + width - draw.textlength("older", font=font), y), "older", font=font, fill=OLDER)
        y += 1.1 * unit
    return _text(draw, x, y, scale_label(page), 0.75 * unit, QUIET)


def _row(sheet, draw, page, crops, x, y, column, unit, colour) -> float:
    side = int((column - 0.8 * unit) / 3)
    for place, (i, crop) in enumerate(crops):
        left = int(x + place * (side + 0.4 * unit))
        small = crop.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        sheet.paste(small, (left, int(y)))
        draw.rectangle([left, y, left + side, y + side], outline=colour, width=max(1, unit // 12))
        draw.text((left, y + side), f"{page.patch_ages[i]:.1f} y", font=_font(0.8 * unit), fill=INK)
    return y + side + 1.2 * unit


def _text(draw, x, y, text, size, colour) -> float:
    draw.text((x, y), text, font=_font(size), fill=colour)
    return y + 1.35 * size


def _font(size: float):
    return ImageFont.load_default(size=max(8, int(size)))
