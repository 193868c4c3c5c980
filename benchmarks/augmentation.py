"""What an augmented patch costs: one fused warp on one channel, against a chain of Keras layers on three.

    python benchmarks/augmentation.py [--size 400] [--batch 32] [--rounds 7]

Three comparisons, each way inside `tf.data` with a parallel map, taking turns:

* moving pixels: rotation, zoom, shear and translation, by the chain of Keras layers, by one projective transform of
  TensorFlow, by OpenCV's `warpAffine` on the bytes as it comes, on three channels and on one, and by our policy (OpenCV
  on one channel, with paper around it);
* the same and an elastic warp in the one resampling, by a bilinear gather of TensorFlow, and by OpenCV (ours), against
  the chain without an elastic warp: Keras' RandomElasticTransform takes 3 CPU seconds for a patch of 400 px;
* the published augmentation as a whole (rotation, zoom, brightness, contrast, noise): chain and ours.

The ratio is processor time of the chain over processor time of the other; wall time is printed beside it.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse

import cv2
import keras
import numpy as np
import tensorflow as tf
from support.drawings import line_drawings
from support.side_by_side import interleave, machine
from tabulate import tabulate

from age_keras.data.batches import counter, warp
from age_keras.data.batches.augment import Policy, get_policy
from age_keras.data.batches.views import view_keys

CHAIN = "chain of Keras layers, 3 channels"
ROTATION, ZOOM, SHEAR, SHIFT, ELASTIC = 15.0, 0.1, 0.1, 0.05, 3.0


def keras_chain(*layers: keras.layers.Layer):
    """The usual way: three channels, float32, layer after layer."""

    def augment(patches, _keys):
        pixels = tf.image.grayscale_to_rgb(tf.cast(patches, tf.float32) / 255)
        for layer in layers:
            pixels = layer(pixels, training=True)
        return pixels

    return augment


def drawn_maps(keys: np.ndarray, size: int) -> np.ndarray:
    """The affine maps of our policies, for TensorFlow: float32 (N, 2, 3)."""
    draw = {name: counter.uniform(keys, name) for name in ("rotation", "shear", "zoom", "x", "y")}
    return warp.affine_matrices(
        size,
        size,
        rotation=ROTATION * draw["rotation"],
        shear=SHEAR * draw["shear"],
        zoom=1 + ZOOM * draw["zoom"],
        aspect=np.ones(len(keys)),
        translation_x=SHIFT * draw["x"],
        translation_y=SHIFT * draw["y"],
    ).astype(np.float32)


def tensorflow_affine(size: int):
    """One projective transform of TensorFlow on uint8; the paper becomes 0 while it works."""

    def augment(patches, keys):
        maps = tf.ensure_shape(tf.numpy_function(lambda k: drawn_maps(k, size), [keys], tf.float32), [None, 2, 3])
        transforms = tf.pad(tf.reshape(maps, [-1, 6]), [[0, 0], [0, 2]])
        paper = tf.reduce_max(patches, axis=[1, 2, 3], keepdims=True)
        return paper - tf.raw_ops.ImageProjectiveTransformV3(
            images=paper - patches,
            transforms=transforms,
            output_shape=[size, size],
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="CONSTANT",
        )

    return augment


def opencv_affine(size: int, channels: int):
    """OpenCV's warp of uint8 and nothing else, with black outside."""

    def warped(patches, keys):
        out = np.empty((*patches.shape[:3], channels), np.uint8)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for patch, target, matrix in zip(patches, out, drawn_maps(keys, size), strict=True):
            pixels = cv2.cvtColor(patch, cv2.COLOR_GRAY2BGR) if channels == 3 else patch
            target[...] = cv2.warpAffine(pixels, matrix, (size, size), flags=flags).reshape(target.shape)
        return out

    def augment(patches, keys):
        return tf.ensure_shape(tf.numpy_function(warped, [patches, keys], tf.uint8), [None, size, size, channels])

    return augment


def tensorflow_elastic(size: int):
    """One bilinear gather of TensorFlow, along the affine map plus a smooth field."""

    def augment(patches, keys):
        count = tf.shape(patches)[0]
        maps = tf.ensure_shape(tf.numpy_function(lambda k: drawn_maps(k, size), [keys], tf.float32), [None, 2, 3])
        field = tf.random.uniform([count, warp.CELLS + 3, warp.CELLS + 3, 2], -ELASTIC, ELASTIC)
        field = tf.image.resize(field, [size, size], method="bicubic")
        x, y = tf.meshgrid(tf.range(size, dtype=tf.float32), tf.range(size, dtype=tf.float32))
        ones = tf.stack([x, y, tf.ones_like(x)], axis=-1)
        places = tf.einsum("hwk,nck->nhwc", ones, maps) + field
        corner = tf.floor(places)
        share = places - corner
        corner = tf.cast(corner, tf.int32)
        paper = tf.cast(tf.reduce_max(patches, axis=[1, 2]), tf.float32)[:, :, None]
        flat = tf.reshape(patches, [count, -1])
        total = tf.zeros([count, size, size])
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            cx, cy = corner[..., 0] + dx, corner[..., 1] + dy
            inside = (cx >= 0) & (cx < size) & (cy >= 0) & (cy < size)
            index = tf.clip_by_value(cy, 0, size - 1) * size + tf.clip_by_value(cx, 0, size - 1)
            value = tf.cast(tf.gather(flat, index, batch_dims=1), tf.float32)
            weight_x = share[..., 0] if dx else 1 - share[..., 0]
            weight_y = share[..., 1] if dy else 1 - share[..., 1]
            total += weight_x * weight_y * tf.where(inside, value, paper)
        return tf.cast(tf.round(total), tf.uint8)[..., None]

    return augment


def way(patches: np.ndarray, augment, batches: int):
    """A call that pulls some batches through a parallel map."""
    keys = view_keys(np.arange(len(patches), dtype=np.uint64), 0, 0)
    data = tf.data.Dataset.from_tensors((patches, keys)).repeat(batches)
    data = data.map(augment, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(1)

    def pull() -> int:
        for _ in data:
            pass
        return batches * len(patches)

    return pull


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=400, help="side of a patch, in pixels")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--batches", type=int, default=4, help="batches a turn")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    size = options.size
    patches = line_drawings(options.batch, size)
    paper = {"fill_mode": "constant", "fill_value": 245 / 255}
    turns, zoom = keras.layers.RandomRotation(ROTATION / 360, **paper), keras.layers.RandomZoom(ZOOM, **paper)
    shear = keras.layers.RandomShear(SHEAR, 0.0, **paper)
    shift = keras.layers.RandomTranslation(SHIFT, SHIFT, **paper)
    light = keras.layers.RandomBrightness(0.1, value_range=(0, 1))
    contrast = keras.layers.RandomContrast(0.25, value_range=(0, 1))
    noise = keras.layers.GaussianNoise(0.05)
    moves = {"rotation": ROTATION, "zoom": ZOOM, "shear": SHEAR, "translation": SHIFT}
    groups = {
        "rotation, zoom, shear, translation": {
            CHAIN: keras_chain(turns, zoom, shear, shift),
            "fused, TensorFlow, 1 channel": tensorflow_affine(size),
            "OpenCV alone, 3 channels": opencv_affine(size, 3),
            "OpenCV alone, 1 channel": opencv_affine(size, 1),
            "fused, OpenCV, 1 channel (ours)": Policy(**moves),
        },
        "the same and elastic warp": {
            "fused, TensorFlow, 1 channel": tensorflow_elastic(size),
            "fused, OpenCV, 1 channel (ours)": Policy(**moves, elastic=ELASTIC),
        },
        "the published augmentation": {
            CHAIN: keras_chain(turns, zoom, light, contrast, noise),
            "policy `published` (ours)": get_policy("published"),
        },
        "`handwriting`, against the first chain": {"policy `handwriting` (ours)": get_policy("handwriting")},
    }
    ways = {
        (group, name): way(patches, augment, options.batches)
        for group, augments in groups.items()
        for name, augment in augments.items()
    }
    times = interleave(ways, options.rounds)
    rows = []
    for (group, name), (wall, cpu) in times.items():
        base = times.get((group, CHAIN)) or times[(next(iter(groups)), CHAIN)]
        ratios = f"{base[1] / cpu:.1f}", f"{base[0] / wall:.1f}"
        rows.append((group, name, f"{cpu * 1e3:.2f}", f"{wall * 1e3:.2f}", *ratios))
    print(machine())
    print(f"Patches of {size} x {size} px, batches of {options.batch}, median of {options.rounds} turns.\n")
    header = ("augmentation", "way", "CPU ms/patch", "wall ms/patch", "times less CPU", "times faster")
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
