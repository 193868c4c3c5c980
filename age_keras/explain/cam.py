"""Where in a patch a model sees age: Grad-CAM, Grad-CAM++, Score-CAM, Saliency and SmoothGrad for a regression.

All maps are signed: positive where the patch looks older than empty paper, negative where it looks younger. That is the
map of the age less the map of its negative; the usual ReLU would hide the second half. tf-keras-vis gives the model
modifier; its methods themselves rebuild the model and leave the graph at every call, and fail for a regression
(docs/explain.md), so their formulas stand here once, traced and for whole batches. Where the library works, the tests
compare the two.
"""

from collections.abc import Sequence
from typing import get_args

import keras
import numpy as np
import tensorflow as tf

from age_keras.backbones.registry import BackboneSpec, get_spec
from age_keras.config.explain import Method
from age_keras.errors import InputError
from age_keras.explain.attention import AttentionRollout
from age_keras.explain.token_grid import cam_layers, fold_tokens, tapped
from age_keras.models.heads import MEDIAN_COLUMN

SIGNED: tuple[Method, ...] = ("grad_cam", "grad_cam_plus_plus", "score_cam", "saliency", "smooth_grad")
METHODS: tuple[Method, ...] = get_args(Method)
BATCH = 16
YEARS = 10.0  # The age is divided by this where a formula takes exp(score), as Grad-CAM++ does.


class Explainer:
    """Explains one model; everything is built and traced once.

    Args:
        model: Pixels 0-255 (N, S, S, C) to years (N, 1), or (N, 3) with the median in column 1. Flat or nested.
        backbone: A registered name or its facts, which say which layers to read. Defaults to None: give `layers`.
        layers: Names of the layers to read, fused where there are several. Defaults to the backbone's.
        fused: How many of the backbone's layers to fuse. Defaults to 1, its last feature map alone.
        batch_size: Batch size of the calls. Defaults to 16.

    Example:
        >>> from age_keras.deploy.predictor import Predictor
        >>> predictor = Predictor("runs/demo/1a2b3c4d/checkpoints/resnet10.keras")
        >>> explainer = Explainer(predictor.model, predictor.facts["name"])
        >>> patches = np.full((2, 32, 32, 1), 250, np.uint8)
        >>> explainer.maps(patches, "grad_cam").shape
        (2, 32, 32)
    """

    def __init__(
        self,
        model: keras.Model,
        backbone: str | BackboneSpec | None = None,
        layers: Sequence[str] | None = None,
        fused: int = 1,
        batch_size: int = BATCH,
    ):
        spec = get_spec(backbone) if isinstance(backbone, str) else backbone
        if spec is None and not layers:
            raise ValueError(f"give a backbone or layers. Received: backbone={backbone}, layers={layers}")
        self.model, self.spec, self.batch_size = model, spec, batch_size
        self.name = spec.name if spec else model.name
        self.layers = tuple(layers or (cam_layers(model, spec, fused) if spec else ()))
        self.class_tokens = spec.class_tokens if spec and spec.tokens else 0
        self.side, self.channels = model.inputs[0].shape[1], model.inputs[0].shape[-1]
        self._split = tapped(model, self.layers)
        signature = [tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32)]
        self._ages = tf.function(self._forward_ages, input_signature=signature, autograph=False)
        self._features = tf.function(self._forward_features, input_signature=signature, autograph=False)
        self._grids = tf.function(self._grids_and_gradients, input_signature=signature, autograph=False)
        self._pixels = tf.function(self._pixel_gradient, input_signature=signature, autograph=False)
        self._rollout: AttentionRollout | None = None

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods that this model allows."""
        return METHODS if AttentionRollout.possible(self.model) else SIGNED

    def ages(self, patches: np.ndarray) -> np.ndarray:
        """Years for patches (P, S, S, C), float32 (P,)."""
        return np.concatenate([self._ages(batch).numpy() for batch in self._batches(patches)])

    def maps(
        self,
        patches: np.ndarray,
        method: Method = "grad_cam",
        paper: np.ndarray | float | None = None,
        *,
        max_channels: int = 32,
        samples: int = 16,
        noise: float = 0.1,
        seed: int = 0,
    ) -> np.ndarray:
        """One map a patch, read against empty paper of the same colour, which itself has a map of zeros.

        `grad_cam` of the last feature map before average pooling and a linear head is exact: a map's mean is the
        model's answer less its answer for empty paper, in years. The other maps have no unit; `page.py` fits one.

        Args:
            patches: Pixels 0-255, (P, S, S, C).
            method: `grad_cam` (Selvaraju et al. 2017), `grad_cam_plus_plus` (Chattopadhay et al. 2018), `score_cam`
                (Wang et al. 2020; what a mask hides becomes paper, not black), `saliency` (Simonyan et al. 2013, times
                the pixel less paper), `smooth_grad` (Smilkov et al. 2017, of the same) or `attention_rollout` (Abnar
                and Zuidema 2020; unsigned, only for ViTs with global attention).
            paper: Colour of empty paper, a grey level or (C,). Defaults to the median of all patches. `np.nan` gives
                the classical maps, without reference: sums of weighted activations, and the gradient alone.
            max_channels: Masks a patch and layer for `score_cam`, those that vary most ("Faster Score-CAM").
            samples: Noisy copies a patch for `smooth_grad`.
            noise: Their standard deviation, as a fraction of the patch's range of grey levels.
            seed: Seed of the noise.

        Returns:
            float32 (P, S, S); positive is older, negative younger. Attention is not negative and each map sums to 1.

        Raises:
            InputError: The model has no such map.
        """
        patches = np.asarray(patches)
        if patches.shape[1:] != (self.side, self.side, self.channels):
            raise ValueError(f"patches must be (P, S, S, C) as the model takes them. Received: shape={patches.shape}")
        if method == "attention_rollout":
            if self._rollout is None:
                self._rollout = AttentionRollout(self.model, self.class_tokens)
            return np.concatenate([self._enlarge(self._rollout(batch)) for batch in self._batches(patches)])
        if method not in SIGNED:
            raise InputError(f"There is no method {method!r}: choose {', '.join(METHODS)}.")
        colour = np.median(patches, axis=(0, 1, 2)) if paper is None else np.broadcast_to(paper, self.channels)
        empty = tf.broadcast_to(tf.cast(colour, tf.float32), (1, self.side, self.side, self.channels))
        if method == "saliency":
            found = [self._saliency(batch, empty) for batch in self._batches(patches)]
        elif method == "smooth_grad":
            found = [self._smooth(batch, empty, samples, noise, seed + i) for i, batch in self._numbered(patches)]
        elif method == "score_cam":
            found = [self._score_cam(patch[None], empty, max_channels) for patch in patches]
        else:
            formula = grad_cam if method == "grad_cam" else grad_cam_plus_plus
            blank = None if np.isnan(colour).any() else self._features(empty)[1]
            found = [self._from_grids(batch, blank, formula) for batch in self._batches(patches)]
        return np.concatenate(found)

    def _batches(self, patches: np.ndarray):
        for i in range(0, len(patches), self.batch_size):
            yield tf.cast(patches[i : i + self.batch_size], tf.float32)

    def _numbered(self, patches: np.ndarray):
        return enumerate(self._batches(patches))

    def _forward_ages(self, pixels):
        return _years(self.model(pixels, training=False))

    def _forward_features(self, pixels):
        outputs, *features = self._split(pixels, training=False)
        return _years(outputs), [self._fold(x) for x in features]

    def _grids_and_gradients(self, pixels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            outputs, *features = self._split(pixels, training=False)
            ages = _years(outputs)
        gradients = tape.gradient(ages, features, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [self._fold(x) for x in features], [self._fold(x) for x in gradients]

    def _pixel_gradient(self, pixels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            ages = _years(self.model(pixels, training=False))
        return tape.gradient(ages, pixels)

    def _fold(self, x):
        return fold_tokens(tf.cast(x, tf.float32), self.class_tokens)

    def _enlarge(self, grid) -> np.ndarray:
        """(N, h, w) to (N, S, S)."""
        return tf.image.resize(tf.convert_to_tensor(grid)[..., None], (self.side, self.side))[..., 0].numpy()

    def _from_grids(self, batch, blank, formula) -> np.ndarray:
        features, gradients = self._grids(batch)
        blank = blank if blank is not None else [None] * len(features)
        return fuse([self._enlarge(formula(*layer)) for layer in zip(features, gradients, blank, strict=True)])

    def _saliency(self, batch, empty) -> np.ndarray:
        return against(self._pixels(batch), batch, empty).numpy()

    def _smooth(self, batch, empty, samples: int, noise: float, seed: int) -> np.ndarray:
        random = tf.random.Generator.from_seed(seed)
        spread = tf.reduce_max(batch, axis=(1, 2, 3), keepdims=True) - tf.reduce_min(batch, (1, 2, 3), keepdims=True)
        total = tf.zeros_like(batch)
        for _ in range(samples):
            total += self._pixels(batch + noise * spread * random.normal(tf.shape(batch)))
        return against(total / samples, batch, empty).numpy()

    def _score_cam(self, patch: np.ndarray, empty, max_channels: int) -> np.ndarray:
        """Each channel's activation becomes a mask; its weight is what the patch seen through it adds in years."""
        pixels = tf.cast(patch, tf.float32)
        empty = tf.where(tf.math.is_nan(empty), 0.0, empty)
        nothing, grids = self._ages(empty), []
        for features in self._features(pixels)[1]:
            vary = tf.math.reduce_std(features[0], axis=(0, 1))
            chosen = tf.math.top_k(vary, min(max_channels, features.shape[-1])).indices
            masks = tf.transpose(tf.gather(features[0], chosen, axis=-1), (2, 0, 1))
            low, high = (f(masks, axis=(1, 2), keepdims=True) for f in (tf.reduce_min, tf.reduce_max))
            masks = tf.image.resize(((masks - low) / tf.maximum(high - low, 1e-6))[..., None], (self.side,) * 2)
            seen = pixels * masks + empty * (1 - masks)
            weights = tf.concat([self._ages(seen[i : i + BATCH]) for i in range(0, len(seen), BATCH)], 0) - nothing
            grids.append(tf.reduce_mean(weights[:, None, None] * masks[..., 0], axis=0)[None].numpy())
        return fuse(grids)


def _years(outputs) -> tf.Tensor:
    """The answer in years, (N,): the only column, or the median of three."""
    outputs = outputs[0] if isinstance(outputs, list | tuple) else outputs
    return tf.cast(outputs[:, MEDIAN_COLUMN if outputs.shape[-1] == 3 else 0], tf.float32)


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
