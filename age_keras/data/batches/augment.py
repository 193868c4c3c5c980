"""Augmentation policies: Keras layers that always return the same augmented view for a patch and a key.

Nothing is drawn from a generator with a state. All random parameters are hashed from the key (`counter.py`), so a view
does not depend on the batch, order, thread or process it is made in: a resumed run sees the views that an uninterrupted
run would have seen, and the features of a frozen backbone can be stored for each view.
"""

import dataclasses
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from age_keras.data.batches import counter, tone, warp
from age_keras.errors import InputError

_REFERENCE_SIDE = 400
"""The side of the published patches; ranges that count in pixels are those of a patch of this side."""
MAX_STRENGTH = 3.0
AUGMENT_VERSION = 1
"""Raise it with every change here, in `warp.py`, `tone.py` or `counter.py` that changes a pixel of a view: features of
views are kept."""


@dataclasses.dataclass(frozen=True)
class Ranges:
    """How far a policy goes. Every parameter is drawn uniformly from minus to plus its range; 0 turns it off.

    Attributes:
        rotation: Degrees.
        shear: Tangent of the change of slant.
        zoom: Fraction of the size; 0.1 is from 10 % smaller to 10 % larger.
        aspect: Fraction by which width gains over height.
        translation: Fraction of the side.
        elastic: Largest move of a control point of the elastic warp, in pixels of a 400-pixel patch.
        thickness: Largest growth or loss of a stroke at each of its sides, in pixels of a 400-pixel patch (at most 1).
        brightness: Fraction of the full range of grey levels.
        contrast: Fraction; 0.25 is from 0.75 to 1.25 times the contrast.
        contrast_pivot: The level that contrast leaves as it is: `mean` of the patch, or its `paper`.
        noise: Standard deviation of white Gaussian noise, as a fraction of the full range.
        texture: Largest standard deviation of paper texture, as a fraction of the full range (drawn from 0 up).
        erasing: Probability that a rectangle is erased to paper.
        erasing_side: Largest side of that rectangle, as a fraction of the patch's.
    """

    rotation: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    aspect: float = 0.0
    translation: float = 0.0
    elastic: float = 0.0
    thickness: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    contrast_pivot: str = "mean"
    noise: float = 0.0
    texture: float = 0.0
    erasing: float = 0.0
    erasing_side: float = 0.0

    def scaled(self, strength: float) -> "Ranges":
        """The same ranges, each multiplied by `strength`."""
        values: dict[str, Any] = {
            k: v if isinstance(v, str) else v * strength for k, v in dataclasses.asdict(self).items()
        }
        return Ranges(**values)


POLICIES = {
    "none": Ranges(),
    "published": Ranges(rotation=15.0, zoom=0.1, brightness=0.1, contrast=0.25, noise=0.05),
    "handwriting": Ranges(
        rotation=4.0,
        shear=0.1,
        zoom=0.08,
        aspect=0.04,
        translation=0.03,
        elastic=3.0,
        thickness=0.35,
        contrast=0.15,
        contrast_pivot="paper",
        texture=0.02,
        erasing=0.3,
        erasing_side=0.2,
    ),
}


@keras.saving.register_keras_serializable("age_keras")
class Policy(keras.layers.Layer):
    """Augments patches by ranges: one geometric resampling, then stroke thickness, tone, noise and erasing.

    What a warp uncovers takes the colour of the patch's own paper. The layer runs on the CPU, inside `tf.data` or
    alone, and has no weights. It does not look at `training`: it is meant for the input pipeline, not for a model.

    Args:
        **ranges: The fields of `Ranges`, and the arguments of `keras.layers.Layer`.

    Call arguments:
        patches: uint8 (N, H, W, C), C is 1 or 3, 0 is black.
        keys: Int64 (N,), from `view_keys`. Equal key and pixels give an equal view.

    Returns:
        uint8 (N, H, W, C).

    Example:

    >>> from age_keras.data.batches.views import view_keys
    >>> patches = np.full((2, 32, 32, 1), 255, np.uint8)
    >>> views = get_policy("handwriting")(patches, view_keys(np.arange(2), view=0, seed=0))
    >>> tuple(views.shape)
    (2, 32, 32, 1)
    """

    def __init__(self, **ranges):
        fields = {f.name for f in dataclasses.fields(Ranges)}
        super().__init__(**{k: v for k, v in ranges.items() if k not in fields})
        self.ranges = Ranges(**{k: v for k, v in ranges.items() if k in fields})
        if self.ranges.contrast_pivot not in ("mean", "paper"):
            raise ValueError(
                f"`contrast_pivot` must be 'mean' or 'paper'. Received: contrast_pivot={self.ranges.contrast_pivot!r}"
            )
        self.trainable = False

    @property
    def is_identity(self) -> bool:
        """Whether the policy leaves every patch as it is."""
        return not any(v for v in dataclasses.asdict(self.ranges).values() if not isinstance(v, str))

    def call(self, patches, keys):
        if self.is_identity:
            return patches
        views = tf.numpy_function(self.augment, [patches, keys], tf.uint8, stateful=False)
        return tf.ensure_shape(views, patches.shape)

    def augment(self, patches: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """The layer's work on numpy arrays. See the class."""
        count, height, width, channels = patches.shape
        ranges, out = self.ranges, np.empty_like(patches)
        if count == 0 or self.is_identity:
            return patches.copy()
        draw = {
            name: counter.uniform(keys, name) * getattr(ranges, name)
            for name in ("thickness", "brightness", "contrast")
        }
        grain = counter.uniform(keys, "texture", low=0.0) * ranges.texture
        places = counter.uniform(keys, "place", (4,), low=0.0)
        erased = counter.uniform(keys, "erasing", low=0.0) < ranges.erasing
        boxes = counter.uniform(keys, "box", (4,), low=0.0)
        boxes[:, 2:] = ranges.erasing_side * (0.25 + 0.75 * boxes[:, 2:])
        paper = warp.border_colour(patches)
        matrices, meshes = self._maps(keys, height, width)
        thickness = np.clip(draw["thickness"] * min(1.0, width / _REFERENCE_SIDE), -1, 1)
        for i in range(count):
            pixels = patches[i] if channels > 1 else patches[i, :, :, 0]
            if matrices is not None:
                pixels = warp.warp(pixels, paper[i], matrices[i], None if meshes is None else meshes[i])
            if thickness[i]:
                pixels = tone.thicken(pixels, thickness[i])
            changes = {}
            if ranges.contrast:
                pivot = float(paper[i].mean()) if ranges.contrast_pivot == "paper" else tone.mean_level(pixels)
                changes |= {"contrast": max(0.0, 1 + draw["contrast"][i]), "pivot": pivot}
            if ranges.brightness:
                changes |= {"brightness": 255 * draw["brightness"][i]}
            if ranges.texture:
                texture = tone.paper_texture(pixels.shape, places[i, 1:])
                pixels, changes = tone.tone(pixels, **changes, noise=texture, deviation=255 * grain[i]), {}
            if ranges.noise:
                changes |= {"noise": tone.white_noise(pixels.shape, places[i, 0]), "deviation": 255 * ranges.noise}
            if changes:
                pixels = tone.tone(pixels, **changes)
            if erased[i]:
                pixels = np.array(pixels)
                tone.erase(pixels, paper[i], boxes[i])
            out[i] = pixels.reshape(height, width, channels)
        return out

    def get_config(self):
        return {**super().get_config(), **dataclasses.asdict(self.ranges)}

    def compute_output_shape(self, patches_shape, keys_shape=None):
        return patches_shape

    def _maps(self, keys, height: int, width: int):
        """The affine maps, and the meshes if there is an elastic warp; None for what is not needed."""
        ranges = self.ranges
        if not any((ranges.rotation, ranges.shear, ranges.zoom, ranges.aspect, ranges.translation, ranges.elastic)):
            return None, None
        matrices = warp.affine_matrices(
            height,
            width,
            rotation=counter.uniform(keys, "rotation") * ranges.rotation,
            shear=counter.uniform(keys, "shear") * ranges.shear,
            zoom=1 + counter.uniform(keys, "zoom") * ranges.zoom,
            aspect=1 + counter.uniform(keys, "aspect") * ranges.aspect,
            translation_x=counter.uniform(keys, "translation_x") * ranges.translation,
            translation_y=counter.uniform(keys, "translation_y") * ranges.translation,
        )
        if not ranges.elastic:
            return matrices, None
        points = (2, warp.CELLS + 3, warp.CELLS + 3)
        controls = counter.uniform(keys, "elastic", points) * ranges.elastic * width / _REFERENCE_SIDE
        return matrices, warp.meshes(height, width, matrices, controls)


def get_policy(name: str, strength: float = 1.0) -> Policy:
    """A named augmentation policy.

    * `none`: patches as they are.
    * `published`: rotation up to 15 degrees, zoom up to 10 %, brightness up to 0.1, contrast 0.75 to 1.25 about the
      patch's mean, Gaussian noise of standard deviation 0.05 of the full range (Abergel, Merling, Litvak, Rabaev 2026).
    * `handwriting`: small rotation, shear, zoom, change of aspect, translation, elastic warp, stroke thickness,
      contrast, paper texture and erasing. Its ranges are modest on purpose: the size of letters, the slope of lines,
      the thickness and darkness of strokes and their tremor are what tells an age, and a view far from the original
      would carry a false one. So size changes by 8 %, where a child's letters are half as large again as an
      adult's; strokes by a third of a pixel at each side; and the elastic warp's control points stand 50 pixels apart
      in a patch of 400, so it bends words but cannot draw, or hide, a tremor, whose waves are a few pixels long.

    Args:
        name: One of the above.
        strength: Multiplies every range, from 0 (no change) to 3. Defaults to 1.

    Raises:
        InputError: For an unknown name or a strength out of range.
    """
    if name not in POLICIES:
        raise InputError(f"There is no augmentation policy {name!r}; the known ones are {', '.join(POLICIES)}.")
    if not (math.isfinite(strength) and 0 <= strength <= MAX_STRENGTH):
        raise InputError(f"The strength of an augmentation policy lies between 0 and {MAX_STRENGTH:g}, not {strength}.")
    return Policy(**dataclasses.asdict(POLICIES[name].scaled(strength)), name=f"augment_{name}")
