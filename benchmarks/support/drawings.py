"""Synthetic patches of pen strokes on paper, for benchmarks whose time depends on what is drawn."""

import cv2
import numpy as np


def line_drawings(count: int, size: int, strokes: int = 50) -> np.ndarray:
    """Patches of `strokes` pen strokes on paper, uint8 (count, size, size, 1)."""
    rng = np.random.default_rng(0)
    patches = np.full((count, size, size, 1), 245, np.uint8)
    for patch in patches:
        for _ in range(strokes):
            points = rng.integers(0, size, 2) + rng.integers(-15, 16, (6, 2)).cumsum(axis=0)
            cv2.polylines(patch[:, :, 0], [points.astype(np.int32)], False, 40, 2, cv2.LINE_AA)
    return patches
