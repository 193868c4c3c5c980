"""What a training shows in TensorBoard: scalars of each epoch, a scatter of ages, patches, hyper-parameters."""

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tensorboard.plugins.hparams import api as hparams

from age_keras.config.serialization import to_dict

PATCHES_SHOWN = 8


def scalar_callback(folder: Path) -> keras.callbacks.Callback:
    """Train and validation scalars, and the learning rate, under `<folder>/{train,validation}`."""
    return keras.callbacks.TensorBoard(str(folder), write_graph=False, profile_batch=0)


def write_patches(folder: Path, patches: np.ndarray) -> None:
    """The first patches of an augmented batch, (N, H, W, C) pixels 0-255."""
    shown = tf.cast(patches[:PATCHES_SHOWN], tf.float32) / 255
    with tf.summary.create_file_writer(str(folder / "train")).as_default():
        tf.summary.image("augmented_patches", shown, step=0, max_outputs=PATCHES_SHOWN)


def write_result(folder: Path, predictions: pd.DataFrame, config: Any, metrics: dict[str, float], epochs: int) -> None:
    """A scatter of predicted against true age, and the hyper-parameters beside the final metrics.

    Args:
        folder: TensorBoard's folder of this training.
        predictions: the scored pages, `TrueAge` and `Prediction` in years.
        config: the configuration; its numbers and names become hyper-parameters.
        metrics: final figures by name.
        epochs: the step at which they are shown.
    """
    with tf.summary.create_file_writer(str(folder / "validation")).as_default():
        image = tf.image.decode_png(_scatter(predictions), channels=3)
        tf.summary.image("predicted_vs_true", image[None], step=epochs)
        hparams.hparams(_flat(to_dict(config)), trial_id=folder.name)
        for name, value in metrics.items():
            tf.summary.scalar(f"final/{name}", value, step=epochs)


def _scatter(predictions: pd.DataFrame) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    truth, predicted = predictions["TrueAge"], predictions["Prediction"]
    ends = [min(truth.min(), predicted.min()) - 1, max(truth.max(), predicted.max()) + 1]
    axes.plot(ends, ends, color="0.6", linewidth=1)
    axes.scatter(truth, predicted, s=14, alpha=0.6, linewidths=0)
    axes.set(xlabel="true age (years)", ylabel="predicted age (years)", xlim=ends, ylim=ends, aspect="equal")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level of numbers, booleans and strings, as HParams takes them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        elif value is not None:
            flat[prefix + key] = value if isinstance(value, bool | int | float | str) else str(value)
    return flat
