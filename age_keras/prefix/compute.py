"""Patches through a frozen prefix, in large batches."""

import dataclasses
import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import keras
import numpy as np
import tensorflow as tf

import age_keras
from age_keras.data.batches.augment import AUGMENT_VERSION
from age_keras.data.batches.pipeline import batches
from age_keras.prefix.cut import CutModel
from age_keras.prefix.halfway import Halfway
from age_keras.prefix.reduced import NotReducedError, reduced, relative_error

BATCH = 32
MAX_COMPUTE_ERROR = 2**-6
"""Features computed in a lower precision may be so far from those in float32, see `relative_error`."""
LEAST_COMPUTE_ERROR = 2**-15
"""What is nearer was computed in float32: the machine has no instructions for the lower precision."""

log = logging.getLogger("age_keras")


@dataclass(frozen=True, eq=False)
class PrefixPass:
    """Computes boundary tensors of patches and of their augmented copies.

    Attributes:
        cut: with a prefix.
        patches: uint8 (P, H, W, C).
        keys: uint64 (P,), the patches' lasting identities, which choose the augmented copies.
        policy: augments; None for none.
        seed: of the copies.
        batch: patches a step. Defaults to 32.
        start: features of a lower cut to start from, where they have the view; None for the pixels.
        computed_in: `float32`, which is as the model itself computes, or `bfloat16` or `float16`, see `reduced`.
    """

    cut: CutModel
    patches: np.ndarray
    keys: np.ndarray
    policy: keras.layers.Layer | None = None
    seed: int = 0
    batch: int = BATCH
    start: Halfway | None = None
    computed_in: str = "float32"

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
            "model": self.cut.model.name,
            "prefix": self.cut.fingerprint(),
            "boundary": [[list(tensor.shape), tensor.dtype] for tensor in self.cut.boundary],
            "patch": [list(self.patches.shape[1:]), str(self.patches.dtype)],
            "policy": policy,
            "versions": versions,
            "computed_in": self.computed_in,
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),  # It rounds differently.
        }

    def compute(self, rows: np.ndarray, view: int | None) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Yields (places in `rows`, boundary tensors of these patches) batch by batch.

        Args:
            rows: int64 (n,).
            view: number of the augmented copy, or None for the patches as they are.
        """
        if not len(rows):
            return
        if self.start is not None and view in self.start.features.views:
            yield from self.start.compute(rows, view, self.batch, self.computed_in)
            return
        # An epoch of the plain pipeline without a limit on views is numbered as the view that it draws.
        order = {"policy": None} if view is None else {"policy": self.policy, "first_epoch": view}
        dataset = batches(
            self.patches,
            np.zeros(len(self.patches), np.float32),
            self.keys,
            batch_size=min(self.batch, len(rows)),
            shuffle=False,
            seed=self.seed,
            epochs=1 if view is None else view + 1,
            indices=rows,
            **order,
        )
        run = self.run
        first = 0
        for pixels, _ in dataset:
            n = len(pixels)
            if n < self.batch:  # A batch of another size would be traced again.
                pixels = tf.concat([pixels, tf.repeat(pixels[-1:], self.batch - n, axis=0)], axis=0)
            yield np.arange(first, first + n), [np.asarray(tensor)[:n] for tensor in run(pixels.numpy())]
            first += n

    def compute_error(self, rows: np.ndarray, view: int | None) -> float:
        """How far the features of a sample of patches are from those in float32, see `relative_error`.

        Args:
            rows: int64 (n,), at least one; as many as a batch holds are taken from all over them.
            view: as for `compute`.
        """
        sample = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), self.batch)).astype(int))]
        exactly = dataclasses.replace(self, start=None, computed_in="float32")
        (_, exact), (_, other) = (next(iter(work.compute(sample, view))) for work in (exactly, self))
        return relative_error(exact, other)

    def affordable_error(self, rows: np.ndarray, view: int | None) -> float:
        """What the precision of the work costs, by `compute_error`.

        Raises:
            NotReducedError: too much, or nothing, because the machine cannot do it.
        """
        error = self.compute_error(rows, view)
        if error < LEAST_COMPUTE_ERROR:
            raise NotReducedError("this machine does not have it")
        if not error <= MAX_COMPUTE_ERROR:
            raise NotReducedError(f"it would change their features by more than {100 * MAX_COMPUTE_ERROR:.1f} %")
        name, precision = self.cut.model.name, self.computed_in
        log.warning("%s, frozen layers in %s: features differ by %.2g (root mean square).", name, precision, error)
        return error

    @functools.cached_property
    def run(self) -> Callable:
        """From the pixels of a whole batch to the boundary's tensors."""
        signature = [tf.TensorSpec((self.batch, *self.patches.shape[1:]), self.patches.dtype)]
        if self.computed_in != "float32":
            return reduced(self.cut.prefix, signature, self.computed_in)
        return tf.function(self.cut.prefix, input_signature=signature, autograph=False)


def patch_identities(patches: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """What a patch is, by its key and every one of its pixels: uint64 (P,)."""
    out = np.empty(len(patches), np.uint64)
    for i, (patch, key) in enumerate(zip(patches, np.asarray(keys).astype(np.uint64), strict=True)):
        digest = hashlib.blake2b(np.ascontiguousarray(patch).data, digest_size=8, key=key.tobytes())
        out[i] = int.from_bytes(digest.digest(), "little")
    return out
