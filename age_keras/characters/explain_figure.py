"""One picture of why a recogniser answered as it did: a row per image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from age_keras.characters.explain import attention_map, grad_cam, shapley_tiles


def save_explanations(path: Path, model, images: np.ndarray, titles: Sequence[str]) -> None:
    """Draws each image, its attention (where the model has one), Grad-CAM and Shapley values.

    Args:
        path: the PNG file.
        model: from `build_recogniser`.
        images: `uint8 (N, S, S)`.
        titles: `(N,)`, what the model said of each.
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
