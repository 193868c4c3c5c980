"""What a recogniser's answer rests on: attention over the image, Grad-CAM, and Shapley values of the image's tiles."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def attention_map(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The weights of the attention, laid over the image.

    A step of the sequence is one column (or row) of the features; its weight, the mean over the heads, is laid where
    the middle of that column's field of view is, and falls to nothing towards the next ones.

    Args:
        model: From `build_recogniser`, with attention.
        images: `uint8 (N, S, S)`.

    Returns:
        float32 `(N, S, S)`, each summing to 1.

    Raises:
        ValueError: the model has no attention.
    """
    if "attention" not in {layer.name for layer in model.layers}:
        raise ValueError(f"the model has no layer 'attention'. Received: model={model.name}")
    layer = model.get_layer("attention")
    node = layer._inbound_nodes[0]
    query, states = node.input_tensors
    inputs = keras.Model(model.input, [query, states])
    query_values, state_values = inputs(_batch(images), training=False)
    _, weights = layer(query_values, state_values, return_weights=True)
    weights = tf.reduce_mean(weights[:, :, 0, :], axis=1)  # (N, steps)
    side = images.shape[1]
    columns = "columns" in {other.name for other in model.layers}
    lines = weights.numpy() @ _places(model, side, weights.shape[1])
    spread = np.repeat(lines[:, None, :], side, axis=1) if columns else np.repeat(lines[:, :, None], side, axis=2)
    return (spread / spread.sum(axis=(1, 2), keepdims=True)).astype(np.float32)


def grad_cam(model: keras.Model, images: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """Grad-CAM of the last convolutional features (Selvaraju et al. 2017, equations 1 and 2).

    Args:
        model: From `build_recogniser`.
        images: `uint8 (N, S, S)`.
        classes: `(N,)`, the classes to explain. Defaults to the most probable.

    Returns:
        float32 `(N, S, S)` in [0, 1]: what speaks for the class.
    """
    features, logits = model.get_layer("features").output, model.get_layer("logits").output
    split = keras.Model(model.input, [features, logits])
    with tf.GradientTape() as tape:
        maps, scores = split(_batch(images), training=False)
        chosen = tf.argmax(scores, axis=1) if classes is None else tf.constant(classes, tf.int64)
        score = tf.reduce_sum(tf.gather(scores, chosen, axis=1, batch_dims=1))
    weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
    cam = tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1, keepdims=True))
    side = images.shape[1]
    places = _places(model, side, cam.shape[1])
    cam = np.einsum("nrc,ri,cj->nij", cam[..., 0].numpy(), places, places)
    return (cam / np.maximum(cam.max(axis=(1, 2), keepdims=True), 1e-9)).astype(np.float32)


def shapley_tiles(
    model: keras.Model,
    image: np.ndarray,
    label: int | None = None,
    *,
    tile: int = 4,
    permutations: int = 30,
    seed: int = 0,
) -> tuple[np.ndarray, float, float]:
    """Shapley values of an image's tiles, sampled over permutations (Štrumbelj & Kononenko 2010; Lundberg & Lee 2017).

    Tiles join an empty image in random order, each order also backwards; a tile's value is what the class' log-odds
    against the rest gain on average when it joins. Tiles without ink change nothing and have the value 0.

    Args:
        model: From `build_recogniser`.
        image: `uint8 (S, S)`.
        label: The class to explain. Defaults to the most probable.
        tile: Side of a tile in pixels. Defaults to 4.
        permutations: Number of random orders. Defaults to 30.
        seed: Seed of the orders. Defaults to 0.

    Returns:
        The values spread over the pixels, float32 `(S, S)`; the log-odds of the empty image; those of the whole. The
        values of the tiles sum to whole less empty.
    """
    side = image.shape[0]
    at = np.arange(side) // tile
    tiles = at[:, None] * (at.max() + 1) + at[None, :]
    inked = np.array([t for t in np.unique(tiles) if image[tiles == t].any()])
    odds = _log_odds(model)
    if label is None:
        label = int(np.argmax(odds(image[None])[0]))
    empty, whole = (float(odds(x[None])[0, label]) for x in (np.zeros_like(image), image))
    values = np.zeros(tiles.max() + 1)
    rng = np.random.default_rng(seed)
    orders = [order for _ in range(permutations) for order in _both_ways(rng.permutation(inked))]
    for order in orders:
        steps = np.zeros((len(order), side, side), np.uint8)
        shown = np.zeros_like(image)
        for i, t in enumerate(order):
            shown = np.where(tiles == t, image, shown)
            steps[i] = shown
        if len(order):
            scores = np.concatenate([[empty], odds(steps)[:, label]])
            values[order] += np.diff(scores)
    values /= max(len(orders), 1)
    size = np.bincount(tiles.ravel())
    return (values / size)[tiles].astype(np.float32), empty, whole


def _places(model: keras.Model, side: int, steps: int) -> np.ndarray:
    """How much of each step of the features goes to each pixel, `(steps, side)`.

    The middles of the fields of view follow from the convolutions' kernels, strides and padding; between two of them
    is interpolated linearly, and a stride beyond the first and last it is nothing.
    """
    middle, stride, size = 0.0, 1, side
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel, step = layer.kernel_size[0], layer.strides[0]
            if layer.padding == "same":
                following = -(-size // step)
                before = max((following - 1) * step + kernel - size, 0) // 2
            else:
                following, before = (size - kernel) // step + 1, 0
            middle += stride * ((kernel - 1) / 2 - before)
            stride, size = stride * step, following
    middles = middle + stride * np.arange(-1, steps + 1)
    padded = np.pad(np.eye(steps), ((0, 0), (1, 1)))
    return np.stack([np.interp(np.arange(side), middles, row) for row in padded])


def _both_ways(order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return order, order[::-1]


def _log_odds(model: keras.Model):
    to_logits = keras.Model(model.input, model.get_layer("logits").output)
    call = tf.function(lambda x: to_logits(x, training=False), reduce_retracing=True)

    def odds(images: np.ndarray) -> np.ndarray:
        logits = call(_batch(images)).numpy().astype(np.float64)
        shifted = logits - logits.max(axis=1, keepdims=True)
        powers = np.exp(shifted)
        rest = np.maximum(powers.sum(axis=1, keepdims=True) - powers, 1e-300)
        return shifted - np.log(rest)

    return odds


def _batch(images: np.ndarray) -> tf.Tensor:
    return tf.constant(images[..., None], tf.float32)


def save_explanations(path: Path, model, images: np.ndarray, titles: Sequence[str]) -> None:
    """Draws each image, its attention (where the model has one), Grad-CAM and Shapley values.

    Args:
        path: The PNG file.
        model: From `build_recogniser`.
        images: `uint8 (N, S, S)`.
        titles: `(N,)`, the model's answer to each.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    cams = grad_cam(model, images)
    has_attention = "attention" in {layer.name for layer in model.layers}
    attention = attention_map(model, images) if has_attention else None
    names = ["image", *(["attention"] if has_attention else []), "Grad-CAM", "Shapley values"]
    figure = Figure(figsize=(1.9 * len(names) + 0.6, 2.0 * len(images)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(images), len(names), squeeze=False)
    for i, (row, image) in enumerate(zip(grid, images, strict=True)):
        for axes in row:
            axes.imshow(255 - image, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
        row[0].set_xlabel(titles[i], fontsize=8)
        if attention is not None:
            row[1].imshow(attention[i], cmap="viridis", alpha=0.55, vmin=0, vmax=attention[i].max())
        row[-2].imshow(cams[i], cmap="inferno", alpha=0.55, vmin=0, vmax=1)
        values, _, _ = shapley_tiles(model, image)
        top = max(float(np.abs(values).max()), 1e-9)
        shown = row[-1].imshow(values, cmap="RdBu_r", alpha=0.65, vmin=-top, vmax=top)
        bar = figure.colorbar(shown, ax=row[-1], fraction=0.046, ticks=[-top, 0, top])
        bar.ax.set_yticklabels(["against", "0", "for"], fontsize=7)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
