"""Features of a frozen prefix that nobody keeps: computed from the pixels whenever they are asked for."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from age_keras.data.batches.views import view_keys
from age_keras.prefix.compute import PrefixPass
from age_keras.prefix.cut import Boundary


@dataclass(frozen=True, eq=False)
class LiveFeatures:
    """In place of a `Features` where there is no cache, or no room: the same features, within rounding.

    Attributes:
        work: computes them.
        views: numbers of the augmented copies; None stands for the patches as they are.
    """

    work: PrefixPass
    views: Collection[int | None] = (None,)

    @property
    def boundary(self) -> tuple[Boundary, ...]:
        """Shape and dtype of what `gather` returns."""
        return self.work.cut.boundary

    def gather(self, rows: np.ndarray, views: np.ndarray | int | None = None) -> list[np.ndarray]:
        """Features of some patches, see `Features.gather`."""
        rows, batch = np.asarray(rows, np.int64), self.work.batch
        views = None if views is None or self.work.policy is None else np.broadcast_to(views, rows.shape)
        parts = []
        for first in range(0, len(rows), batch):
            places = np.arange(first, min(first + batch, len(rows)))
            full = np.resize(places, batch)  # A batch of another size would be traced again.
            pixels = self.work.patches[rows[full]]
            if views is not None:
                keys = view_keys(self.work.keys[rows[full]], views[full], self.work.seed)
                pixels = self.work.policy.augment(pixels, keys)
            parts.append([np.asarray(tensor)[: len(places)] for tensor in self.work.run(pixels)])
        return [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]
