"""Position tables at another size: the interpolations that the published code uses, in numpy, to float32 rounding."""

import numpy as np


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel at distance `t`."""
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = a * (((t - 5) * t + 8) * t - 4)
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


def cubic_matrix(size: int, new_size: int, antialias: bool) -> np.ndarray:
    """The (new_size, size) matrix of PyTorch's bicubic `interpolate` along one axis (`align_corners=False`).

    PyTorch's kernel has a = -0.5, is widened when shrinking, and renormalised at the borders with `antialias`; without
    it, a = -0.75 and the border is repeated.
    """
    scale = size / new_size
    matrix = np.zeros((new_size, size))
    for i in range(new_size):
        centre = (i + 0.5) * scale
        if antialias:
            width = max(scale, 1.0)
            first, last = max(int(centre - 2 * width + 0.5), 0), min(int(centre + 2 * width + 0.5), size)
            taps = np.arange(first, last)
            weights = _cubic((taps - centre + 0.5) / width, a=-0.5)
            weights /= weights.sum()
        else:
            left = np.floor(centre - 0.5)
            taps = left + np.arange(-1, 3)
            weights = _cubic(centre - 0.5 - taps, a=-0.75)
            taps = np.clip(taps, 0, size - 1).astype(int)
        np.add.at(matrix[i], taps, weights)
    return matrix


def resize_bicubic(grid: np.ndarray, size: tuple[int, int], antialias: bool = True) -> np.ndarray:
    """A grid (h, w, C) at another size, as `torch.nn.functional.interpolate(mode="bicubic")` does it."""
    rows = cubic_matrix(grid.shape[0], size[0], antialias)
    columns = cubic_matrix(grid.shape[1], size[1], antialias)
    return np.einsum("ih,jw,hwc->ijc", rows, columns, grid.astype(np.float64), optimize=True).astype(grid.dtype)


def resize_position_embedding(tokens: np.ndarray, count: int, class_tokens: int = 1) -> np.ndarray:
    """A learned position embedding (1, class_tokens + n * n, C) for `count` tokens: the grid bicubic, antialiased."""
    (tokens,) = tokens
    prefix, places = tokens[:class_tokens], tokens[class_tokens:]
    old, new = round(len(places) ** 0.5), round((count - class_tokens) ** 0.5)
    grid = resize_bicubic(places.reshape(old, old, -1), (new, new)).reshape(new * new, -1)
    return np.concatenate([prefix, grid])[None]


def resize_bias_table(table: np.ndarray, length: int, extra: int = 0) -> np.ndarray:
    """A relative position bias table ((2w-1)^2 + extra, heads) for another window.

    The known offsets are spread in a geometric progression, so that near ones keep their values and far ones stretch,
    and what lies between is linear: the scheme of BEiT's fine-tuning code, with timm's linear interpolation. The
    `extra` last rows (to, from and within the class token) are kept.
    """
    places, rest = (table[:-extra], table[-extra:]) if extra else (table, table[:0])
    old, new = round(len(places) ** 0.5), round((length - extra) ** 0.5)
    known = _geometric_offsets(old, new)
    target = np.arange(-(new // 2), new // 2 + 1, dtype=np.float64)
    matrix = np.stack([np.interp(target, known, row) for row in np.eye(old)], axis=1)
    grid = np.einsum("ih,jw,hwc->ijc", matrix, matrix, places.reshape(old, old, -1).astype(np.float64), optimize=True)
    return np.concatenate([grid.reshape(new * new, -1).astype(table.dtype), rest])


def _geometric_offsets(old: int, new: int) -> np.ndarray:
    """Offsets of the `old` known entries on the axis of the new table; the outermost reach its ends."""
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio ** (old // 2)) / (1 - ratio) > new // 2:
            high = ratio
        else:
            low = ratio
    offsets = np.cumsum(ratio ** np.arange(old // 2))
    return np.concatenate([-offsets[::-1], [0.0], offsets])
