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
        shorter_side: the page is scaled so that its shorter side has this many pixels; `None` keeps the scan's own
            resolution (where scale carries meaning) and fills up with paper colour to whole patches instead of
            cutting down. Defaults to 800.
        patch_size: side of a patch, in pixels of the scaled page. A side of the page that is shorter is filled up
            with paper colour. Defaults to 400.
        stride: step between patches, in pixels. Defaults to 200.
        image_size: side that a patch is resized to (bicubic, antialiased) before it is stored. Defaults to
            `patch_size`.
        channels: 1 (grey) or 3 (RGB). Defaults to 1.
        blank: which patches are left out: `ink`, those with less than `min_ink`; `published`, those whose mean of
            pixels / 255 is not over 0.0054, that is black ones (white paper stays); `none`. Defaults to `ink`.
        min_ink: smallest fraction of dark pixels (Otsu over the page) in a patch, from 0 to 1. Defaults to 0.005.
    """

    shorter_side: Side | None = 800
    patch_size: Side = 400
    stride: Side = 200
    image_size: Annotated[int, Interval(ge=1, le=4096)] | None = None
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
