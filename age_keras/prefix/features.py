"""Features of a frozen prefix, ready to be drawn by patch and augmentation view."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from age_keras.prefix.cut import Boundary


@dataclass(frozen=True)
class View:
    """The features of one augmentation view.

    Attributes:
        arrays: One array for each boundary tensor, (n, *shape), in memory or mapped.
        slots: int64 (P,), the place of each patch in the arrays; -1 for patches that were not asked for.
    """

    arrays: Sequence[np.ndarray]
    slots: np.ndarray


@dataclass(frozen=True)
class Features:
    """What `FeatureCache.features` returns.

    Attributes:
        boundary: Shape and dtype of what `gather` returns.
        views: The views by number; `views[None]` holds the patches as they are.
        precision: The dtype in which features are kept.
        error: The largest error of keeping them so, relative to the value or, where larger, to the tensor's root mean
            square; 0 for float32.
        in_memory: Whether they are held in memory rather than mapped from disk.
        computed: How many features were computed, not found.
        computed_in: The precision that the frozen part was computed in; the model itself computes in float32.
        compute_error: How far the features are from those computed in float32: the root mean square of the difference
            over that of the features, measured on a sample of patches by whoever computed them; 0 for float32.
    """

    boundary: tuple[Boundary, ...]
    views: dict[int | None, View]
    precision: str
    error: float
    in_memory: bool
    computed: int
    computed_in: str = "float32"
    compute_error: float = 0.0

    def gather(self, rows: np.ndarray, views: np.ndarray | int | None = None) -> list[np.ndarray]:
        """Features of some patches.

        Args:
            rows: int64 (B,), rows of the patch store.
            views: int64 (B,), the augmented copy of each, or one number for all; None for the patches as they are.

        Returns:
            One array for each boundary tensor, (B, *shape), in the boundary's dtype.

        Raises:
            KeyError: a patch or a view that was not asked for.
        """
        rows = np.asarray(rows, np.int64)
        out = [np.empty((len(rows), *tensor.shape), _numpy_dtype(tensor.dtype)) for tensor in self.boundary]
        if views is None or np.ndim(views) == 0:
            groups: list[tuple[int | None, Any]] = [(None if views is None else int(views), slice(None))]
        else:
            views = np.asarray(views)
            groups = [(int(view), np.flatnonzero(views == view)) for view in np.unique(views)]
        for view, places in groups:
            stored = self.views[view]
            slots = stored.slots[rows[places]]
            if slots.size and slots.min() < 0:
                raise KeyError(f"Row {rows[places][np.argmin(slots)]} has no features of view {view}.")
            for target, array in zip(out, stored.arrays, strict=True):
                target[places] = array[slots]
        return out

    @property
    def signature(self) -> list[tf.TensorSpec]:
        """Type and shape of what `gather` returns, for `row_batches` of the input pipeline."""
        return [tf.TensorSpec((None, *tensor.shape), tensor.dtype) for tensor in self.boundary]


def _numpy_dtype(name: str) -> np.dtype:
    return np.dtype(tf.as_dtype(name).as_numpy_dtype)


def rounding_error(exact: np.ndarray, stored: np.ndarray) -> float:
    """The largest error, relative to the value or, where that is larger, to the root mean square of all values."""
    if exact.dtype == stored.dtype:
        return 0.0
    exact = exact.astype(np.float32)
    scale = np.maximum(np.abs(exact), np.sqrt(np.mean(np.square(exact, dtype=np.float64))))
    error = np.max(np.abs(stored.astype(np.float32) - exact) / np.maximum(scale, np.finfo(np.float32).tiny))
    return float(error) if np.isfinite(error) else float("inf")
