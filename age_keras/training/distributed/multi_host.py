"""One model trained by several hosts: data-parallel steps under `tf.distribute.MultiWorkerMirroredStrategy`.

    model = train_on_hosts(build, arrays, hosts=("10.0.0.5:9001", "10.0.0.6:9001"), index=0, epochs=10, batch_size=64)

Run the same program on every host with its own `index`; `experiments.multi_host` is such a program. `Model.fit` fails
under this strategy in Keras 3 (keras issue 20585), so the loop is written out with `strategy.run`. Every host holds the
same weights, takes its share of each global batch, deals it out to its GPUs, and the gradients are summed over all of
them: the result is that of one process on the whole batches. This pays only where one model is too slow for one
machine. Folds, backbones and trials spread better as separate trainings (`fan_out`, `tuning`).
"""

import json
import os
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from age_keras.errors import InputError

Build = Callable[[], tuple[keras.Model, keras.optimizers.Optimizer, keras.losses.Loss]]


def train_on_hosts(
    build: Build,
    patches: np.ndarray,
    ages: np.ndarray,
    hosts: Sequence[str],
    index: int,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    on_epoch: Callable[[int, float], None] | None = None,
    *,
    first_epoch: int = 0,
    augment: Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> keras.Model:
    """Trains a model on several hosts.

    Args:
        build: makes model, optimizer and a loss with `reduction="none"`; seeded, so that all hosts build the same.
        patches: (N, ...), all of them, on every host.
        ages: float32 (N, 1), years.
        hosts: `HOST:PORT` of each, in the same order on all.
        index: which of them this one is.
        epochs: passes over the patches.
        batch_size: of all hosts together; divided by the number of all their GPUs. A last part batch is dropped.
        seed: of the order.
        on_epoch: called with (epoch, mean loss) on each host.
        first_epoch: where to go on; `build` then gives model and optimizer as they stood after the epoch before.
        augment: called with (patches, their rows, epoch) on each host's share of a batch, returns patches.
        strategy: from `join_hosts`, which a process can call once only, for a second training. Defaults to joining.

    Returns:
        The model, with the same weights on every host.

    Raises:
        InputError: sizes that do not fit, or an index without a host.
    """
    count = len(hosts)
    if not 0 <= index < count:
        raise InputError(f"`index` must be from 0 to {count - 1}, a host of {', '.join(hosts)}. Received: {index}.")
    if batch_size % count:
        raise InputError(f"The batch of {batch_size} cannot be shared by {count} hosts: give a multiple of {count}.")
    if len(patches) < batch_size:
        raise InputError(f"{len(patches)} patches do not fill a batch of {batch_size}: give a smaller one.")
    strategy = strategy or join_hosts(hosts, index)
    devices = max(1, strategy.num_replicas_in_sync // count)
    if batch_size % (count * devices):
        number = f"{count * devices} GPUs, {devices} a host"
        raise InputError(
            f"The batch of {batch_size} cannot be shared by {number}: give a multiple of {count * devices}."
        )
    share = batch_size // count
    with strategy.scope():
        keras.utils.set_random_seed(seed)
        model, optimizer, loss = build()
        if not optimizer.built:
            optimizer.build(model.trainable_variables)

    def step(x, y):
        context = tf.distribute.get_replica_context()
        # Of the host's share this device takes its part: every replica is called with the whole share.
        part, size = context.replica_id_in_sync_group % devices, share // devices
        x, y = x[part * size : (part + 1) * size], y[part * size : (part + 1) * size]
        with tf.GradientTape() as tape:
            # Divided by the global batch: the sum over devices is the mean over the batch.
            value = tf.reduce_sum(loss(y, model(x, training=True))) / batch_size
        gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        return value, summed

    @tf.function
    def distributed(x, y):
        values, gradients = strategy.run(step, (x, y))
        local = [strategy.experimental_local_results(g)[0] for g in gradients]
        return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None), local

    for epoch in range(first_epoch, epochs):
        order = np.random.default_rng((seed, epoch)).permutation(len(patches))
        losses = []
        for first in range(0, len(order) - batch_size + 1, batch_size):
            rows = order[first + index * share : first + (index + 1) * share]
            x = patches[rows] if augment is None else augment(patches[rows], rows, epoch)
            x, y = tf.constant(x), tf.constant(ages[rows])
            value, gradients = distributed(x, y)
            losses.append(float(value))
            optimizer.apply(gradients, model.trainable_variables)
        if on_epoch:
            on_epoch(epoch, float(np.mean(losses)))
    return model


def join_hosts(hosts: Sequence[str], index: int) -> tf.distribute.Strategy:
    """Waits for the other hosts. Before any other work of TensorFlow, and once in a process.

    Args:
        hosts: `HOST:PORT` of each, in the same order on all; with a single one nothing is waited for.
        index: which of them this one is.
    """
    if len(hosts) == 1:
        return tf.distribute.get_strategy()
    os.environ["TF_CONFIG"] = json.dumps(
        {"cluster": {"worker": list(hosts)}, "task": {"type": "worker", "index": index}}
    )
    return tf.distribute.MultiWorkerMirroredStrategy()
