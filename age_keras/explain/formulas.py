"""The formulas of signed maps: from features, gradients and the features of empty paper to a map."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

YEARS = 10.0  # The age is divided by this where a formula takes exp(score), as Grad-CAM++ does.


def against(gradient, pixels, empty) -> tf.Tensor:
    """Gradient times the distance from paper, summed over channels; the gradient alone without a paper."""
    distance = tf.where(tf.math.is_nan(empty), 1.0, pixels - empty)
    return tf.reduce_sum(gradient * distance, axis=-1)


def grad_cam(features, gradients, blank) -> tf.Tensor:
    """Equations 1 and 2 of Selvaraju et al. without the ReLU, summed rather than averaged over the cells.

    The number of cells makes the mean over a map the years that its features add.
    """
    weights = tf.reduce_sum(gradients, axis=(1, 2), keepdims=True)
    return tf.reduce_sum(weights * (features if blank is None else features - blank), axis=-1)


def grad_cam_plus_plus(features, gradients, blank) -> tf.Tensor:
    """The map of the age less that of its negative, each after equations 10 to 19 of Chattopadhay et al.

    The score is (age - own age) / `YEARS`, so exp(score) is 1: exp(age) itself overflows. The denominator has the
    features' positive part, and the gradient's size: with features of both signs it could else pass through zero.
    """
    shown = features if blank is None else features - blank
    mass = tf.reduce_sum(tf.nn.relu(features), axis=(1, 2), keepdims=True)
    size = tf.abs(gradients / YEARS)
    alphas = tf.where(size > 0, 1 / (2 + size * mass), 0.0)
    alphas = tf.math.divide_no_nan(alphas, tf.reduce_sum(alphas, axis=(1, 2), keepdims=True))
    maps = []
    for sign in (1.0, -1.0):
        weights = tf.reduce_sum(alphas * tf.nn.relu(sign * gradients / YEARS), axis=(1, 2), keepdims=True)
        maps.append(tf.nn.relu(tf.reduce_sum(weights * shown, axis=-1)))
    return maps[0] - maps[1]


def fuse(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Maps of several layers, (N, S, S) each: their mean when each weighs the same, at the last one's size."""
    if len(maps) == 1:
        return maps[0].astype(np.float32)
    sizes = [np.abs(m).mean(axis=(1, 2), keepdims=True) for m in maps]
    even = np.mean([m / np.maximum(size, 1e-12) for m, size in zip(maps, sizes, strict=True)], axis=0)
    return (even * sizes[-1]).astype(np.float32)
