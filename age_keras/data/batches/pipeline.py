"""From the patch store to batches: shuffled over all patches, augmented, prefetched, the same for the same seed.

A batch is a function of (seed, its number): its rows are looked up in the epoch's order, a hash of (seed, epoch). So
batches can be made by several threads at once and still come in one order, and a run that is resumed at epoch e sees
the batches that an uninterrupted one would have seen.
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from age_keras.data.batches import counter
from age_keras.data.batches.views import epoch_views, view_keys
from age_keras.data.patches.row_reader import RowReader
from age_keras.errors import InputError

_THREADS = 4
_PREFETCHED = 3


def steps(n: int, batch_size: int, drop_remainder: bool = False) -> int:
    """Batches in an epoch of `n` examples."""
    return n // batch_size if drop_remainder else -(-n // batch_size)


@functools.lru_cache(maxsize=4)
def batch_indices(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch goes through `n` examples: int64 (n,), read-only."""
    order = counter.permutation(n, seed, epoch)
    order.flags.writeable = False
    return order


def row_batches(
    fetch: Callable[..., Sequence[np.ndarray]],
    signature: Sequence[tf.TensorSpec],
    keys: np.ndarray,
    *,
    batch_size: int,
    shuffle: bool,
    transform: Callable | None = None,
    seed: int = 0,
    first_epoch: int = 0,
    epochs: int | None = None,
    views: int | None = None,
    drop_remainder: bool = False,
    indices: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of anything that has rows, in the same order as `batches`: pixels, stored features, row numbers.

    Args:
        fetch: Called with `rows` int64 (B,), `view` int64 (B,) (number of the view, `epoch_views`) and `key` int64 (B,)
            (of that view, `view_keys`); returns one array for each entry of `signature`. Several threads call it.
        signature: Type and shape of each array, the batch first.
        keys: Uint64 (P,), the lasting identity of each row.
        batch_size: Rows a batch.
        shuffle: Whether each epoch has an order of its own (`batch_indices`); else rows come as they stand.
        transform: Called with the tensors of a batch, returns what the dataset yields. Defaults to None: a tuple.
        seed: Seed of the order and of the views. Defaults to 0.
        first_epoch: Where to begin, counted from 0. Defaults to 0.
        epochs: Where to end: epochs `first_epoch` to `epochs - 1`. Defaults to None: without end.
        views: Number of augmented views per row. Defaults to None: a new one each epoch.
        drop_remainder: Whether a last batch that is not full is left out. Defaults to False.
        indices: The rows to use, (n,). Defaults to all.

    Returns:
        A dataset with `steps(n, batch_size, drop_remainder)` batches an epoch.

    Raises:
        InputError: If there are too few rows for one batch, or `batch_size` or `views` is below 1.
        ValueError: If `indices` has a row that is not there.
    """
    keys = np.asarray(keys).astype(np.uint64)
    rows = np.arange(len(keys)) if indices is None else np.asarray(indices).astype(np.int64)
    if rows.size and not (rows.min() >= 0 and rows.max() < len(keys)):
        raise ValueError(f"`indices` must be rows of 0 to {len(keys) - 1}. Received: {rows.min()} to {rows.max()}.")
    if batch_size < 1:
        raise InputError(f"The batch size must be at least 1, not {batch_size}.")
    n, in_epoch = len(rows), steps(len(rows), batch_size, drop_remainder)
    if in_epoch == 0:
        raise InputError(f"There are {n} patches, too few for one batch of {batch_size}; lower the batch size.")
    if views is not None and views < 1:
        raise InputError(f"views must be at least 1, or None for a new one every epoch. Received: views={views}")
    fixed_size = batch_size if drop_remainder or n % batch_size == 0 else None

    def load(number):
        epoch, step = divmod(int(number), in_epoch)
        places = slice(step * batch_size, min(n, (step + 1) * batch_size))
        batch = rows[batch_indices(n, seed, epoch)[places] if shuffle else places]
        view = epoch_views(keys[batch], epoch, views, seed)
        return tuple(fetch(batch, view, view_keys(keys[batch], view, seed)))

    def make(number):
        tensors = tf.numpy_function(load, [number], [spec.dtype for spec in signature], stateful=False)
        shapes = ([fixed_size, *spec.shape[1:]] for spec in signature)
        tensors = tuple(tf.ensure_shape(tensor, shape) for tensor, shape in zip(tensors, shapes, strict=True))
        return tensors if transform is None else transform(*tensors)

    if epochs is None:
        numbers = tf.data.Dataset.counter(first_epoch * in_epoch)
    else:
        numbers = tf.data.Dataset.range(first_epoch * in_epoch, max(first_epoch, epochs) * in_epoch)
    options = tf.data.Options()
    options.deterministic = True
    # Every replica draws from the one order; sharding by row number would change what a batch holds.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    dataset = numbers.map(make, num_parallel_calls=_THREADS, deterministic=True)
    return dataset.prefetch(_PREFETCHED).with_options(options)


def batches(
    patches: np.ndarray,
    targets: np.ndarray,
    keys: np.ndarray,
    *,
    batch_size: int,
    shuffle: bool,
    policy: Callable | None = None,
    seed: int = 0,
    first_epoch: int = 0,
    epochs: int | None = None,
    views: int | None = None,
    weights: np.ndarray | None = None,
    drop_remainder: bool = False,
    indices: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of patches for `fit`, `evaluate` and `predict`.

    Patches are read from their memory map batch by batch; neither the store nor a fold of it is ever copied.

    Args:
        patches: uint8 (P, H, W, C), a memory map or an array.
        targets: (P,) or (P, K). 64-bit floats become 32-bit.
        keys: Uint64 (P,), the patches' lasting identities.
        batch_size: Patches a batch.
        shuffle: Whether each epoch mixes all patches anew.
        policy: A policy from `get_policy`. Defaults to None: no augmentation.
        seed: Seed of order and augmentation. Defaults to 0.
        first_epoch: Where to begin, counted from 0. Defaults to 0.
        epochs: Where to end: epochs `first_epoch` to `epochs - 1`. Defaults to None: without end, for `fit` with
            `steps_per_epoch=steps(n, batch_size)`.
        views: Number of augmented views per patch, used in turn. Defaults to None: a new one each epoch.
        weights: Weights of the examples, (P,). Defaults to None.
        drop_remainder: Whether a last batch that is not full is left out. Defaults to False.
        indices: The rows to use, such as those of a fold; P is still the whole store. Defaults to all.

    Returns:
        A dataset of (patches uint8 (B, H, W, C), targets), or (patches, targets, weights float32 (B,)).
    """
    columns = [_column(targets)] + ([] if weights is None else [np.asarray(weights, np.float32)])
    for name, array in (("targets", columns[0]), ("keys", keys), ("weights", columns[-1])):
        if len(array) != len(patches):
            raise ValueError(f"`{name}` must have a row for each patch. Received: {len(array)} for {len(patches)}.")

    read = RowReader(patches)
    plain = policy is None or getattr(policy, "is_identity", False)

    def fetch(rows, _view, key):
        return read(rows), key, *(column[rows] for column in columns)

    def augment(pixels, key, *rest):
        return (pixels if plain or policy is None else policy(pixels, key), *rest)

    signature = [
        tf.TensorSpec((None, *patches.shape[1:]), patches.dtype),
        tf.TensorSpec((None,), tf.int64),
        *(tf.TensorSpec((None, *column.shape[1:]), column.dtype) for column in columns),
    ]
    return row_batches(
        fetch,
        signature,
        keys,
        transform=augment,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        first_epoch=first_epoch,
        epochs=epochs,
        views=views,
        drop_remainder=drop_remainder,
        indices=indices,
    )


def _column(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values)
    return values.astype(np.float32) if values.dtype == np.float64 else values
