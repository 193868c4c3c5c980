"""Fast augmentation of small grey images: an affine and elastic warp, strokes, a box, for a whole batch at once.

The map from a new pixel to where it is read is linear in a few numbers per image (six of the affine part, a coarse
grid of displacements for the elastic part), so the maps of a batch are one matrix product, and all its images, stacked
into a tall one, are one call of OpenCV's `remap`: 60,000 digits in about two CPU-seconds, less than two percent of
an epoch of training.
"""

import numpy as np

from age_keras.characters.config import WarpSettings

TILE_LIMIT = 32_000  # cv2.remap reads images of fewer than 2**15 rows.
THINNEST = 0.8  # A whole step of erosion would take the faintest strokes away.


def warp_batch(images: np.ndarray, rng: np.random.Generator, settings: WarpSettings | None = None) -> np.ndarray:
    """Warps every image by its own random affine and elastic map; what comes from outside is background (0).

    Args:
        images: `uint8 (N, S, S)`, bright ink on a background of 0.
        rng: Source of all randomness: the same state gives the same images.
        settings: See `WarpSettings`. Defaults to `WarpSettings()`.

    Returns:
        `uint8 (N, S, S)`.
    """
    settings = settings or WarpSettings()
    images = np.asarray(images)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.dtype != np.uint8:
        raise ValueError(f"images must be uint8 (N, S, S). Received: {images.dtype} {images.shape}")
    if not len(images):
        return images.copy()
    side = images.shape[1]
    basis = _basis(side, settings.elastic_grid)
    x, y = (weights @ basis for weights in _weights(len(images), side, rng, settings))
    warped = _remap(images, x, y)
    if settings.width:
        warped = vary_stroke_width(warped, rng, settings.width)
    return _erase(warped, rng, settings) if settings.erase else warped


def affine_batch(
    images: np.ndarray,
    *,
    rotation: np.ndarray | float = 0.0,
    zoom: np.ndarray | float = 1.0,
    shear: np.ndarray | float = 0.0,
    shift_x: np.ndarray | float = 0.0,
    shift_y: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Warps images by given amounts (for measuring, not for training).

    Args:
        images: `uint8 (N, S, S)`.
        rotation: Degrees counter-clockwise, a number or `(N,)`, as are the others.
        zoom: Scale; above 1 enlarges the ink.
        shear: Horizontal shear, a fraction of the height.
        shift_x: Shift to the right in pixels.
        shift_y: Shift downwards in pixels.

    Returns:
        `uint8 (N, S, S)`.
    """
    count, side = len(images), images.shape[1]
    if not count:
        return images.copy()
    full = [np.broadcast_to(np.asarray(v, np.float32), (count,)) for v in (rotation, zoom, shear, shift_x, shift_y)]
    weights_x, weights_y = _affine_weights(full[0], full[1], full[1], full[2], full[3], full[4])
    basis = _basis(side, 0)
    return _remap(images, weights_x @ basis, weights_y @ basis)


def _weights(count: int, side: int, rng: np.random.Generator, s: WarpSettings) -> tuple[np.ndarray, np.ndarray]:
    def uniform(spread, centre=0.0):
        return rng.uniform(centre - spread, centre + spread, count).astype(np.float32)

    affine_x, affine_y = _affine_weights(
        uniform(s.rotation),
        uniform(s.zoom, 1.0),
        uniform(s.zoom, 1.0),
        uniform(s.shear),
        uniform(s.shift * side),
        uniform(s.shift * side),
    )
    grid = rng.normal(0.0, s.elastic * side / 28, (2, count, s.elastic_grid**2)).astype(np.float32)
    return np.concatenate([affine_x, grid[0]], axis=1), np.concatenate([affine_y, grid[1]], axis=1)


def _affine_weights(rotation, zoom_x, zoom_y, shear, shift_x, shift_y) -> tuple[np.ndarray, np.ndarray]:
    """The weights of (1, x, y) that give the place to read from: the inverse of shift·rotation·shear·zoom."""
    angle = np.deg2rad(rotation)
    cos, sin = np.cos(angle), np.sin(angle)
    # Inverse rotation (the y axis points down), then inverse shear, then inverse zoom.
    xx, xy = (cos + shear * sin) / zoom_x, (-sin + shear * cos) / zoom_x
    yx, yy = sin / zoom_y, cos / zoom_y
    x = np.stack([-xx * shift_x - xy * shift_y, xx, xy], axis=1)
    y = np.stack([-yx * shift_x - yy * shift_y, yx, yy], axis=1)
    return x.astype(np.float32), y.astype(np.float32)


def _basis(side: int, grid: int) -> np.ndarray:
    """`(3 + grid², S·S)`: 1, x and y about the centre, and one smooth bump per grid point."""
    centred = np.arange(side, dtype=np.float32) - (side - 1) / 2
    y, x = (plane.ravel() for plane in np.meshgrid(centred, centred, indexing="ij"))
    rows = [np.ones_like(x), x, y]
    if grid:
        points = np.linspace(centred[0], centred[-1], grid)
        width = max(side / grid, 1.0) * 0.85
        bumps = np.exp(-0.5 * ((centred[:, None] - points) / width) ** 2)  # (S, grid)
        bumps /= np.sqrt((bumps**2).sum(axis=1, keepdims=True))  # A displacement's spread is the same everywhere.
        rows.extend(np.einsum("ia,jb->abij", bumps, bumps).reshape(grid * grid, -1))
    return np.stack(rows).astype(np.float32)


def _remap(images: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    import cv2

    side = images.shape[1]
    tile = side + 2  # A blank row above and below keeps neighbours apart.
    chunk = TILE_LIMIT // tile
    out = np.empty_like(images)
    for start in range(0, len(images), chunk):
        part = images[start : start + chunk]
        stacked = np.zeros((len(part), tile, side), np.uint8)
        stacked[:, 1:-1] = part
        map_x = x[start : start + chunk] + (side - 1) / 2
        map_y = np.clip(y[start : start + chunk] + (side - 1) / 2, -1, side) + 1
        map_y += tile * np.arange(len(part), dtype=np.float32)[:, None]
        shape = (len(part) * side, side)
        warped = cv2.remap(
            stacked.reshape(-1, side),
            map_x.reshape(shape),
            map_y.reshape(shape),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        out[start : start + chunk] = warped.reshape(part.shape)
    return out


def _erase(images: np.ndarray, rng: np.random.Generator, s: WarpSettings) -> np.ndarray:
    count, side = len(images), images.shape[1]
    centre = rng.uniform(0, side, (2, count, 1))
    half = rng.uniform(0.1, s.erase_side, (2, count, 1)) * side / 2
    half[:, rng.uniform(size=count) >= s.erase] = -1  # No box.
    line = np.arange(side)
    rows, columns = (np.abs(line - c) <= h for c, h in zip(centre, half, strict=True))
    return np.where(rows[:, :, None] & columns[:, None, :], np.uint8(0), images)


def vary_stroke_width(images: np.ndarray, rng: np.random.Generator, fraction: float) -> np.ndarray:
    """Moves some images part of the way towards their dilation (thicker) or their erosion (thinner).

    Dilation and erosion are those of grey images (Serra 1982) by a cross of 3x3 pixels: at most one pixel on each side
    of a stroke.

    Args:
        images: `uint8 (N, H, W)`, bright ink on a background of 0.
        rng: Source of all randomness: the same state gives the same images.
        fraction: Fraction of the images that are changed; half of these become thicker, half thinner.

    Returns:
        `uint8 (N, H, W)`.
    """
    import cv2

    count, height, width = images.shape
    chosen = rng.uniform(size=count)
    amount = rng.uniform(size=(count, 1, 1)).astype(np.float32)
    stacked = np.zeros((count, height + 2, width), np.uint8)  # A blank row above and below keeps neighbours apart.
    stacked[:, 1:-1] = images
    tall = stacked.reshape(-1, width)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    thick, thin = (f(tall, cross).reshape(stacked.shape)[:, 1:-1] for f in (cv2.dilate, cv2.erode))
    ink = images.astype(np.float32)
    thicker, thinner = ink + (thick - ink) * amount, ink - (ink - thin) * (THINNEST * amount)
    half, whole = np.less(chosen, fraction / 2)[:, None, None], np.less(chosen, fraction)[:, None, None]
    return np.where(half, thicker, np.where(whole, thinner, ink)).astype(np.uint8)
