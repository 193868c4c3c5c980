"""Patches through a frozen prefix, in large batches: from the pixels, or from the features of a lower cut."""

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import keras
import numpy as np
import tensorflow as tf

import age_keras
from age_keras.data.batches.augment import AUGMENT_VERSION
from age_keras.data.batches.pipeline import batches
from age_keras.data.batches.views import view_keys
from age_keras.prefix.cut import CutModel
from age_keras.prefix.features import Features
from age_keras.prefix.low_precision import LowPrecisionError, in_low_precision, relative_error

BATCH = 32
MAX_COMPUTE_ERROR = 2**-6
"""Features computed in a lower precision may differ from those in float32 by this much, see `relative_error`."""
LEAST_COMPUTE_ERROR = 2**-15
"""Features that differ by less were computed in float32: the machine has no instructions for the lower precision."""

log = logging.getLogger("age_keras")


@dataclass(frozen=True, eq=False)
class Wanted:
    """Patches and views of them whose features are needed.

    Attributes:
        cut: From `cut_model`, with a prefix.
        patches: uint8 (P, H, W, C).
        keys: uint64 (P,), the patches' lasting identities, which also choose the augmented copies.
        rows: int64 (n,), the rows of `patches` that are needed. Defaults to all.
        views: Numbers of the augmented copies (`epoch_views`). Defaults to None: the patches as they are.
        policy: The layer that augments. With None, or one that changes nothing, all views are the patches as they are.
        seed: Seed of the augmented copies. Defaults to 0.
    """

    cut: CutModel
    patches: np.ndarray
    keys: np.ndarray
    rows: np.ndarray | None = None
    views: Sequence[int] | None = None
    policy: keras.layers.Layer | None = None
    seed: int = 0

    @property
    def numbers(self) -> list[int | None]:
        """The views that differ; `[None]` where all of them are the patches as they are."""
        if self.views is None or self.policy is None or getattr(self.policy, "is_identity", False):
            return [None]
        return [*sorted({int(view) for view in self.views})]


@dataclass(frozen=True, eq=False)
class Below:
    """Features of a lower cut, to start from instead of the pixels.

    Attributes:
        features: Of the lower cut.
        onward: From the tensors of that cut to those of a higher one, see `between`.
    """

    features: Features
    onward: keras.Model


@dataclass(frozen=True, eq=False)
class PrefixPass:
    """Computes boundary tensors of patches and of their augmented copies.

    Attributes:
        wanted: The patches; its rows and views are not regarded.
        batch: Patches in a step. Defaults to 32.
        below: Features of a lower cut to start from, where they have the view; None for the pixels.
        computed_in: `float32`, as the model itself computes, or `bfloat16` or `float16`, see `low_precision`.
    """

    wanted: Wanted
    batch: int = BATCH
    below: Below | None = None
    computed_in: str = "float32"

    @property
    def policy(self) -> keras.layers.Layer | None:
        """The layer that augments; None where it changes nothing."""
        return None if self.wanted.numbers == [None] else self.wanted.policy

    @functools.cached_property
    def facts(self) -> dict:
        """All that decides the features, but the patches themselves and the view."""
        policy, versions = None, {"keras": keras.__version__, "tensorflow": tf.__version__}
        if self.policy is not None:
            kind, config = type(self.policy), self.policy.get_config()
            policy = {k: v for k, v in config.items() if k not in ("name", "trainable")}
            policy["class"] = f"{kind.__module__}.{kind.__name__}"
            versions |= {"age_keras": age_keras.__version__, "augment": AUGMENT_VERSION, "cv2": cv2.__version__}
        return {
            "model": self.wanted.cut.model.name,
            "prefix": self.wanted.cut.fingerprint(),
            "boundary": [[list(tensor.shape), tensor.dtype] for tensor in self.wanted.cut.boundary],
            "patch": [list(self.wanted.patches.shape[1:]), str(self.wanted.patches.dtype)],
            "policy": policy,
            "seed": 0 if policy is None else self.wanted.seed,
            "versions": versions,
            "computed_in": self.computed_in,
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),  # It rounds differently.
        }

    def compute(self, rows: np.ndarray, view: int | None) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Yields (places in `rows`, boundary tensors of these patches) batch by batch.

        Args:
            rows: int64 (n,).
            view: Number of the augmented copy, or None for the patches as they are.
        """
        if not len(rows):
            return
        below = self.below if self.below is not None and view in self.below.features.views else None
        given = self._pixels(rows, view) if below is None else self._features_below(below, rows, view)
        run = self.run if below is None else self._run_onward
        first = 0
        for inputs in given:
            n = min(self.batch, len(rows) - first)
            yield np.arange(first, first + n), [np.asarray(tensor)[:n] for tensor in run(*inputs)]
            first += n

    def _pixels(self, rows: np.ndarray, view: int | None) -> Iterator[tuple[np.ndarray]]:
        """Whole batches: one of another size would be traced again."""
        # An epoch of the plain pipeline without a limit on views is numbered as the view that it draws.
        order = {"policy": None} if view is None else {"policy": self.policy, "first_epoch": view}
        dataset = batches(
            self.wanted.patches,
            np.zeros(len(self.wanted.patches), np.float32),
            self.wanted.keys,
            batch_size=min(self.batch, len(rows)),
            shuffle=False,
            seed=self.wanted.seed,
            epochs=1 if view is None else view + 1,
            indices=rows,
            **order,
        )
        for pixels, _ in dataset:
            missing = self.batch - len(pixels)
            yield (np.concatenate([pixels, np.repeat(pixels[-1:], missing, axis=0)]) if missing else pixels.numpy(),)

    def _features_below(self, below: Below, rows: np.ndarray, view: int | None) -> Iterator[list[np.ndarray]]:
        for first in range(0, len(rows), self.batch):
            yield below.features.gather(np.resize(rows[first : first + self.batch], self.batch), view)

    def compute_error(self, rows: np.ndarray, view: int | None) -> float:
        """How far the features of a sample of patches are from those in float32, see `relative_error`.

        Args:
            rows: int64 (n,), at least one; as many as a batch holds are taken from all over them.
            view: As for `compute`.
        """
        sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), self.batch)).astype(int))]
        exactly = dataclasses.replace(self, below=None, computed_in="float32")
        (_, exact), (_, other) = (next(iter(work.compute(sample, view))) for work in (exactly, self))
        return relative_error(exact, other)

    def affordable_error(self, rows: np.ndarray, view: int | None) -> float:
        """What the precision of the work costs, by `compute_error`.

        Raises:
            LowPrecisionError: it costs too much, or nothing, because the machine cannot do it.
        """
        error = self.compute_error(rows, view)
        if error < LEAST_COMPUTE_ERROR:
            raise LowPrecisionError("not supported on this machine")
        if not error <= MAX_COMPUTE_ERROR:
            raise LowPrecisionError(f"it would change their features by more than {100 * MAX_COMPUTE_ERROR:.1f} %")
        name, precision = self.wanted.cut.model.name, self.computed_in
        log.warning("%s, frozen layers in %s: features differ by %.2g (root mean square).", name, precision, error)
        return error

    @functools.cached_property
    def run(self) -> Callable:
        """From the pixels of a whole batch to the boundary's tensors."""
        patches = self.wanted.patches
        return self._traced(self.wanted.cut.prefix, [tf.TensorSpec((self.batch, *patches.shape[1:]), patches.dtype)])

    @functools.cached_property
    def _run_onward(self) -> Callable:
        assert self.below is not None
        signature = [tf.TensorSpec((self.batch, *x.shape[1:]), x.dtype) for x in self.below.features.signature]
        return self._traced(self.below.onward, signature)

    def _traced(self, model: keras.Model, signature: list[tf.TensorSpec]) -> Callable:
        if self.computed_in != "float32":
            return in_low_precision(model, signature, self.computed_in)
        return tf.function(lambda *tensors: model(tensors), input_signature=signature, autograph=False)


class LiveFeatures:
    """In place of `Features` where there is no cache, or no room: computed anew whenever they are asked for.

    Args:
        wanted: The patches and their views. All of its patches can be asked for.

    Attributes:
        views: Numbers of the augmented copies; None stands for the patches as they are.
        boundary: Shape and dtype of what `gather` returns.
    """

    def __init__(self, wanted: Wanted):
        self.views, self.boundary = wanted.numbers, wanted.cut.boundary
        self._work = PrefixPass(wanted)

    def gather(self, rows: np.ndarray, views: np.ndarray | int | None = None) -> list[np.ndarray]:
        """Features of some patches, see `Features.gather`; the same within rounding."""
        rows, work, wanted = np.asarray(rows, np.int64), self._work, self._work.wanted
        views = None if views is None or work.policy is None else np.broadcast_to(views, rows.shape)
        parts = []
        for first in range(0, len(rows), work.batch):
            places = np.arange(first, min(first + work.batch, len(rows)))
            full = np.resize(places, work.batch)  # A batch of another size would be traced again.
            pixels = wanted.patches[rows[full]]
            if views is not None and work.policy is not None:
                pixels = work.policy.augment(pixels, view_keys(wanted.keys[rows[full]], views[full], wanted.seed))
            parts.append([np.asarray(tensor)[: len(places)] for tensor in work.run(pixels)])
        return [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]


def patch_identities(patches: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """What a patch is, by its key and every one of its pixels: uint64 (P,)."""
    out = np.empty(len(patches), np.uint64)
    for i, (patch, key) in enumerate(zip(patches, np.asarray(keys).astype(np.uint64), strict=True)):
        digest = hashlib.blake2b(np.ascontiguousarray(patch).data, digest_size=8, key=key.tobytes())
        out[i] = int.from_bytes(digest.digest(), "little")
    return out
