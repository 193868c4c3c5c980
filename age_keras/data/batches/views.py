"""Which augmented view of a patch an epoch uses, and the key that makes it: pure functions of patch, epoch and seed."""

import numpy as np

from age_keras.data.batches import counter
from age_keras.errors import InputError


def view_keys(patch_keys: np.ndarray, view: int | np.ndarray, seed: int) -> np.ndarray:
    """The key of an augmented view of each patch.

    Args:
        patch_keys: Uint64 (N,), the patches' lasting identities (`PatchStore.keys`).
        view: The number of the view, one for all or (N,).
        seed: Seed of the run.

    Returns:
        int64 (N,).
    """
    return counter.combine(patch_keys, seed, view).view(np.int64)


def epoch_views(patch_keys: np.ndarray, epoch: int, views: int | None, seed: int) -> np.ndarray:
    """Which augmented view of each patch an epoch uses.

    With a number of views per patch they are used in turn, each patch starting at a place of its own, so that `views`
    epochs use every view once and every epoch has all numbers in it. With None every epoch has a new view.

    Args:
        patch_keys: Uint64 (N,).
        epoch: Counted from 0.
        views: Number of views per patch, at least 1, or None.
        seed: Seed of the run.

    Returns:
        int64 (N,), from 0 to `views` - 1, or the epoch's number.
    """
    if views is None:
        return np.full(len(patch_keys), epoch, np.int64)
    if views < 1:
        raise InputError(f"views must be at least 1, or None for a new one every epoch. Received: views={views}")
    first = counter.combine(patch_keys, seed) % np.uint64(views)
    return ((first.astype(np.int64) + epoch) % views).astype(np.int64)
