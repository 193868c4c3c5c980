"""A page's map as one self-contained HTML file: pan, zoom and toggle, by pointer or keyboard, without any network."""

import base64
import html
import io
import json
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from age_keras.config.pages import PageSettings
from age_keras.data.patches.decode import decode_page
from age_keras.explain.page import PageMap
from age_keras.explain.page_figure import ATTENTION, OLDER, TITLES, YOUNGER, full_box, in_full, scale_label
from age_keras.files import atomic_write

TEMPLATE = Path(__file__).with_name("page.html")


def write_html(page: PageMap, settings: PageSettings, path: Path, title: str = "") -> Path:
    """Writes the interactive page, atomically.

    The scan lies in it in its own resolution, the map in that of the scaled page, as numbers rather than colours: the
    browser draws it, so that its strength and its part on bare paper can be chosen there and values be read off.

    Args:
        page: The map.
        settings: How the model's patches are cut.
        path: Path of the file.
        title: E.g. the model's name.
    """
    scan = decode_page(page.path, 3)
    levels = np.nan_to_num(page.values / page.limit).clip(-1, 1)
    codes = np.rint(128 + 127 * levels).astype(np.uint8)
    near = np.rint(255 * page.near_ink).astype(np.uint8)
    covered = np.isfinite(page.values).astype(np.uint8) * 255
    # The part of the scaled page that the scan shows, whatever it is filled up with beyond.
    planes = np.stack([codes, near, covered], axis=-1)
    size = _map_size(page, scan.size)
    planes = np.asarray(Image.fromarray(in_full(page, planes, settings, scan.size)).resize(size))
    older, younger = page.top_patches()
    facts = {
        "width": scan.width,
        "height": scan.height,
        "limit": page.limit,
        "signed": page.signed,
        "inYears": page.in_years,
        "older": OLDER if page.signed else ATTENTION,
        "younger": YOUNGER,
        "patches": [
            {
                "box": full_box(page, settings, scan.size, i),
                "age": round(float(page.patch_ages[i]), 2),
                "influence": round(float(page.influence[i]), 3),
            }
            for i in (*older, *younger)
        ],
    }
    agreement = f"{page.agreement:.2f}" if page.signed else "not measured"
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        name=html.escape(page.path.name),
        title=html.escape(title),
        method=TITLES[page.method],
        age=f"{page.age:.1f}",
        patches=len(page.patch_ages),
        unit=scale_label(page),
        agreement=agreement,
        scan=_data_uri(scan, "JPEG", quality=90),
        map=_data_uri(Image.fromarray(planes), "PNG", compress_level=9),
        facts=json.dumps(facts).replace("</", "<\\/"),
    )
    with atomic_write(path) as file:
        file.write(text)
    return path


def _map_size(page: PageMap, size: tuple[int, int]) -> tuple[int, int]:
    """The map's own resolution, or the scan's where that is smaller."""
    scale = min(1.0, min(page.values.shape) / min(size))
    return round(size[0] * scale), round(size[1] * scale)


def _data_uri(image: Image.Image, kind: str, **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
