"""One map of a whole page: the patches' maps stitched, in years, with the patches that moved the answer most."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from age_keras.config.explain import Method
from age_keras.config.pages import PageSettings
from age_keras.data.patches.ink import ink_mask, paper_colour
from age_keras.data.patches.pages import cut_scaled, scale_page
from age_keras.explain.cam import SIGNED, Explainer

TOP = 3  # Patches shown on each side.
LEAST = 0.005  # Years: less is shown as 0.00.
PROBED = 8  # Patches of a page that the scale in years is fitted on.
HALO = 0.012  # Paper this near to ink, as a fraction of the page's shorter side, shows the ink's colour.


@dataclass(frozen=True)
class PageMap:
    """The map of a page.

    Attributes:
        path: The page's file.
        method: Method of the patches' maps.
        age: The model's answer, in years: the mean over the patches.
        values: Float32 (H, W) on the scaled page: years that 1 % of the page's area adds where it looks like this
            place; their mean times 100 is the whole map's effect. NaN where no patch lies. Without `in_years` the
            values are only to be compared with one another.
        near_ink: Float32 (H, W): 1 on ink, falling to 0 on paper without ink nearby.
        in_years: Whether erasing ink changes the answer as the map says, so that its scale could be fitted.
        agreement: Correlation of the change that the map predicts with that which erasing makes, -1 to 1.
        signed: False for attention, which has no younger side.
        patch_ages: Float32 (P,), years. boxes: int32 (P, 4): x, y, width, height on the scaled page.
        influence: Float32 (P,): years that the patch adds to the answer, against the page without it.
        blank: The page has no ink that the model could have read.
    """

    path: Path
    method: str
    age: float
    values: np.ndarray
    near_ink: np.ndarray
    in_years: bool
    agreement: float
    signed: bool
    patch_ages: np.ndarray
    boxes: np.ndarray
    influence: np.ndarray
    blank: bool

    @property
    def limit(self) -> float:
        """The end of the colour scale: what 99 % of the inked places stay below, in the values' unit."""
        shown = np.abs(self.values[(self.near_ink > 0.5) & np.isfinite(self.values)])
        return float(np.percentile(shown, 99)) if shown.size and shown.any() else 1.0

    def top_patches(self, count: int = TOP) -> tuple[list[int], list[int]]:
        """The patches that made the answer older and younger, strongest first; none covers half of another.

        What rounds to 0.00 years is left out: of a model that answers the same to every page there is none.
        """
        older = self._top(np.argsort(-self.influence), self.influence >= LEAST, count)
        return older, self._top(np.argsort(self.influence), self.influence <= -LEAST, count)

    def _top(self, order: np.ndarray, allowed: np.ndarray, count: int) -> list[int]:
        chosen: list[int] = []
        for i in order:
            if len(chosen) < count and allowed[i] and all(self._overlap(i, j) <= 0.5 for j in chosen):
                chosen.append(int(i))
        return chosen

    def _overlap(self, i: int, j: int) -> float:
        (x, y, w, h), (u, v, _, _) = self.boxes[i], self.boxes[j]
        return max(0, w - abs(x - u)) * max(0, h - abs(y - v)) / (w * h)


def explain_page(
    explainer: Explainer, path: str | Path, settings: PageSettings, method: Method = "grad_cam", **options
) -> PageMap:
    """Explains a page.

    Args:
        explainer: Explainer of the model.
        path: The page's image.
        settings: How the model's patches are cut.
        method: See `Explainer.maps`.
        **options: Further arguments of `Explainer.maps`.

    Raises:
        InputError: The page cannot be decoded, or the model has no such map.
    """
    pixels = scale_page(path, settings)
    page = cut_scaled(pixels, settings)
    paper = paper_colour(pixels)
    maps = explainer.maps(page.patches, method, paper, **options)
    ages = explainer.ages(page.patches)
    signed = method in SIGNED
    scale, agreement = years_per_unit(explainer, page.patches, maps, paper) if signed else (0.0, 0.0)
    values = stitch(maps * (scale or 1.0), page.boxes, page.size) / 100
    others = max(len(ages) - 1, 1)
    return PageMap(
        path=Path(path),
        method=method,
        age=float(ages.mean()),
        values=values,
        near_ink=np.zeros(pixels.shape[:2], np.float32) if page.blank else near_ink(pixels),
        in_years=scale > 0,
        agreement=agreement,
        signed=signed,
        patch_ages=ages,
        boxes=page.boxes,
        influence=(ages - ages.mean()) / others,
        blank=page.blank,
    )


def stitch(maps: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Lays patch maps over the page; where several overlap, the one whose middle is nearer weighs more.

    Args:
        maps: Float32 (P, S, S).
        boxes: Int32 (P, 4): x, y, width, height on the page.
        size: Width and height of the page.

    Returns:
        float32 (height, width): weighted means; NaN where no patch lies.
    """
    total, weight = np.zeros((2, size[1], size[0]), np.float32)
    for values, (x, y, w, h) in zip(maps, boxes, strict=True):
        window = np.outer(_hann(h), _hann(w))
        total[y : y + h, x : x + w] += window * cv2.resize(values, (int(w), int(h)), interpolation=cv2.INTER_LINEAR)
        weight[y : y + h, x : x + w] += window
    return np.where(weight > 0, total / np.maximum(weight, 1e-9), np.nan).astype(np.float32)


def _hann(length: int) -> np.ndarray:
    return (0.01 + np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2).astype(np.float32)


def years_per_unit(
    explainer: Explainer, patches: np.ndarray, maps: np.ndarray, paper: np.ndarray
) -> tuple[float, float]:
    """The scale of maps in years, by erasing to paper colour: each quarter, all older places and all younger ones.

    Args:
        explainer: Explainer of the model.
        patches: uint8 (P, S, S, C). maps: (P, S, S), signed.
        paper: (C,).

    Returns:
        What a map is to be multiplied by so that its mean over an erased part, counted over the whole patch, is the
        change in years (least squares through the origin), or 0 where erasing does not follow the map; and the
        correlation of the two.
    """
    probed = np.unique(np.linspace(0, len(patches) - 1, min(PROBED, len(patches))).astype(int))
    patches, maps = patches[probed], maps[probed]
    half = explainer.side // 2
    quarters = np.zeros((4, explainer.side, explainer.side), bool)
    for i, (rows, columns) in enumerate([(r, c) for r in (slice(half), slice(half, None)) for c in (0, 1)]):
        quarters[i, rows, half * columns : half * (columns + 1)] = True
    erased, said, own = [], [], np.repeat(explainer.ages(patches), 6)
    for patch, values in zip(patches, maps, strict=True):
        for part in (*quarters, values > 0, values < 0):
            erased.append(np.where(part[..., None], paper, patch))
            said.append(float((values * part).mean()))
    found, made = np.array(said), own - explainer.ages(np.stack(erased))
    if not found.any() or found.std() == 0 or made.std() == 0:
        return 0.0, 0.0
    agreement = float(np.corrcoef(found, made)[0, 1])
    scale = float(found @ made / (found @ found))
    return (scale if scale > 0 and agreement >= 0.3 else 0.0), agreement


def near_ink(pixels: np.ndarray) -> np.ndarray:
    """float32 (H, W): 1 on ink, 0 on paper farther from it than `HALO`, smooth between."""
    ink = ink_mask(pixels)
    if not ink.any():
        return np.zeros(ink.shape, np.float32)
    ink = cv2.morphologyEx(ink.astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))  # without specks
    distance = cv2.distanceTransform(1 - ink, cv2.DIST_L2, 5)
    return np.clip(1.5 - distance / (HALO * min(ink.shape)), 0, 1).astype(np.float32)
