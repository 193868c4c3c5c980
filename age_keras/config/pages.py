"""How pages become patches."""

import dataclasses
import hashlib
import json
from typing import Annotated, Literal

from annotated_types import Interval

from age_keras.config.settings import Fraction, Settings
from age_keras.errors import InputError

# Pixels; the largest scanners of pages stay below.
Side = Annotated[int, Interval(ge=1, le=20_000)]


@dataclasses.dataclass(frozen=True)
class PageSettings(Settings):
    """How pages become patches.

    Args:
        shorter_side: Number of pixels to which the page's shorter side is scaled. `None` keeps the resolution of the
            scan (where scale carries meaning) and pads with paper colour to whole patches instead of cropping.
            Defaults to 800.
        patch_size: Side of a patch, in pixels of the scaled page. A shorter side of the page is padded with paper
            colour. Defaults to 400.
        stride: Step between patches, in pixels. Defaults to 200.
        image_size: Side to which a patch is resized (bicubic, antialiased) before it is stored, in pixels. `None`
            keeps `patch_size`. Defaults to 224.
        channels: 1 (grey) or 3 (RGB). Defaults to 1.
        blank: Which patches are left out: `ink`, those with less ink than `min_ink`; `published`, those whose mean of
            pixels / 255 is at most 0.0054, which are black ones (white paper stays); or `none`. Defaults to `ink`.
        min_ink: Smallest fraction of dark pixels (Otsu over the page) in a patch. Defaults to 0.005.
    """

    shorter_side: Side | None = 800
    patch_size: Side = 400
    stride: Side = 200
    image_size: Annotated[int, Interval(ge=1, le=4096)] | None = 224
    channels: Literal[1, 3] = 1
    blank: Literal["ink", "published", "none"] = "ink"
    min_ink: Fraction = 0.005

    def __post_init__(self):
        super().__post_init__()
        if self.stride > self.patch_size:
            raise InputError(
                f"`stride` must not exceed patch_size={self.patch_size}, or parts of the page are skipped. "
                f"Received: stride={self.stride}."
            )
        if self.blank != "ink":
            self.refuse_unused(f"with blank={self.blank}", "min_ink")

    @property
    def side(self) -> int:
        """Side of a stored patch, in pixels."""
        return self.image_size or self.patch_size

    @property
    def key(self) -> str:
        """A hash of all settings that change a pixel."""
        values = dataclasses.asdict(self) | {"image_size": self.side}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
