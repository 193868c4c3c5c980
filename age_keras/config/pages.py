"""How pages become patches."""

import dataclasses
import hashlib
import json
from typing import Literal

import numpy as np

from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class PageSettings:
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

    shorter_side: int | None = 800
    patch_size: int = 400
    stride: int = 200
    image_size: int | None = None
    channels: Literal[1, 3] = 1
    blank: Literal["ink", "published", "none"] = "ink"
    min_ink: float = 0.005

    def __post_init__(self):
        for name in ("shorter_side", "patch_size", "stride", "image_size"):
            value = getattr(self, name)
            if value is None and name in ("shorter_side", "image_size"):
                continue
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise InputError(f"{name} must be a whole number of pixels, at least 1. Received: {name}={value!r}")
        if self.stride > self.patch_size:
            raise InputError(f"stride must not exceed patch_size. Received: stride={self.stride}")
        if self.channels not in (1, 3):
            raise InputError(f"channels must be 1 or 3. Received: channels={self.channels!r}")
        if self.blank not in ("ink", "published", "none"):
            raise InputError(f"blank must be ink, published or none. Received: blank={self.blank!r}")
        if not 0 <= self.min_ink <= 1:
            raise InputError(f"min_ink must be a fraction from 0 to 1. Received: min_ink={self.min_ink!r}")

    @property
    def side(self) -> int:
        """Side of a stored patch, in pixels."""
        return self.image_size or self.patch_size

    @property
    def key(self) -> str:
        """A hash of all settings that change a pixel."""
        values = dataclasses.asdict(self) | {"image_size": self.side}
        if self.blank != "ink":
            del values["min_ink"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
