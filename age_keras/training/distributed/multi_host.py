"""One age model trained by several hosts: data-parallel steps under `tf.distribute.MultiWorkerMirroredStrategy`.

    strategy = join_hosts(hosts, index)
    trained = train_hosted(study, part, strategy, hosts, index, state)

Run the same program on every host with its own `index`; `experiments.multi_host` is such a program. `Model.fit` fails
under this strategy in Keras 3 (keras issue 20585), so the loop is written out with `strategy.run`. Every host holds the
same weights, takes its part of each global batch, deals it out to its GPUs, and the gradients are summed over all of
them: the result is that of one process on the whole batches, but for BatchNorm in training mode, which sees a device's
part of a batch. Phases, learning rates, views, order and the best epoch are those of `protocol.train`; features of the
frozen part are not cached. This pays only where one model is too slow for one machine. Folds, backbones and trials
spread better as separate trainings (`fan_out`, `tuning`).
"""

import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from age_keras.data.batches.augment import get_policy
from age_keras.data.batches.pipeline import batch_indices
from age_keras.data.batches.views import epoch_views, view_keys
from age_keras.errors import InputError
from age_keras.models.heads import HEADS
from age_keras.run.state import assign, load_state, save_state, to_array
from age_keras.training.callbacks import Progress
from age_keras.training.feeds import PREDICTION_BATCH, PixelFeed
from age_keras.training.model_pool import ModelPool
from age_keras.training.phases import Phase, PhasePlan, learning_rate, patience
from age_keras.training.protocol import Part, Trained, machine, predict_pages, writer_ages
from age_keras.training.study import Study

Build = Callable[[], tuple[keras.Model, keras.optimizers.Optimizer, keras.losses.Loss]]


def train_hosted(
    study: Study, part: Part, strategy: tf.distribute.Strategy, hosts: Sequence[str], index: int, state: Path
) -> Trained:
    """Trains one model on all hosts.

    Args:
        study: Opened on every host, of one backbone.
        part: A hold-out.
        strategy: From `join_hosts`.
        hosts: `HOST:PORT` of each machine, in the same order on all.
        index: This machine's place among them.
        state: A file that all hosts read and the first one writes after each epoch: a killed training resumes there.

    Returns:
        The model at its best epoch, the same on every host, outside of the strategy.
    """
    with machine(study.config):
        hosted = _Hosted(study, part, strategy, state, first=index == 0)
        for phase in hosted.plan.phases:
            if phase.number < hosted.done.phase:
                continue
            hosted.begin(phase)
            last = phase.first_epoch + phase.settings.epochs
            if hosted.done.epoch < last and not hosted.done.best.stopped:
                train_on_hosts(
                    hosted.build,
                    study.data.store.patches[hosted.learn],
                    study.data.targets[hosted.learn],
                    hosts,
                    index,
                    last,
                    study.config.training.batch_size,
                    study.config.seed,
                    hosted.on_epoch,
                    first_epoch=hosted.done.epoch,
                    shuffle=study.config.training.shuffle,
                    augment=hosted.augment,
                    strategy=strategy,
                )
        return hosted.result()


class _Hosted:
    """What a host knows of the training: the model, its phases, the best epoch so far, the history."""

    def __init__(self, study: Study, part: Part, strategy: tf.distribute.Strategy, state: Path, first: bool):
        self.study, self.part, self.strategy, self.state, self.first = study, part, strategy, state, first
        self.config, self.store = study.config, study.data.store
        self.learn, self.choose = (np.flatnonzero(pages[self.store.page]) for pages in (part.learn, part.choose))
        self.policy = get_policy(self.config.training.augment, self.config.training.strength)
        self.loss = HEADS[self.config.model.head].loss(self.config.model.loss)
        self.loss.reduction = "none"
        self.decode = HEADS[self.config.model.head].decode
        saved = load_state(state)
        self.done, self.arrays = (Progress.from_state(saved[0]), saved[1]) if saved else (Progress(), None)
        self.best: list[np.ndarray] = []
        self.variables: list = []
        with strategy.scope():
            self.plan = self._plan()
        self._answer = tf.function(lambda x: self.decode(self.plan.age.trained(x, training=False)))
        self._mean = tf.function(self._over_hosts)

    def _plan(self) -> PhasePlan:
        """The untrained model and its phases."""
        count, side, _, channels = self.store.patches.shape
        ages = writer_ages(self.study.table, self.part)
        return PhasePlan(ModelPool().get(self.config, side, channels, *ages), self.config, count)

    def begin(self, phase: Phase) -> None:
        """A phase starts from the best epoch so far, or resumes."""
        if self.variables:
            assign(self.variables, self.best)
        self.phase = phase
        with self.strategy.scope():
            self.variables = self.plan.begin(phase)
            self.optimizer = self.plan.model.optimizer(phase.settings, track=False)
            self.optimizer.build(phase.cut.whole.trainable_variables)
            if self.arrays and phase.number == self.done.phase:
                assign(self.variables, self.arrays["variable"])
                assign(self.optimizer.variables, self.arrays["slot"])
                self.best = self.arrays["best"]
            else:
                self.done.phase, self.done.epoch = phase.number, phase.first_epoch
                self.done.best = self.done.best.next_phase(**patience(phase.settings))
                self.best = [to_array(v) for v in self.variables]
            self._set_rate()
        self.arrays = None

    def build(self) -> tuple[keras.Model, keras.optimizers.Optimizer, keras.losses.Loss]:
        """For `train_on_hosts`: what this phase trains, as `begin` has left it."""
        return self.phase.cut.whole, self.optimizer, self.loss

    def augment(self, patches: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        keys = self.store.keys[self.learn[rows]]
        views = epoch_views(keys, epoch, self.phase.views, self.config.seed)
        return self.policy.augment(patches, view_keys(keys, views, self.config.seed))

    def on_epoch(self, epoch: int, loss: float) -> bool:
        """Scores the epoch, keeps it where it is the best, and saves. Returns whether the phase is over."""
        done, phase, error = self.done, self.phase, self._error()
        row = {"fold": self.part.fold, "phase": phase.name, "epoch": epoch, "loss": loss, "val_mae": error}
        done.history.append({**row, "learning_rate": self._rate})
        done.epoch = epoch + 1
        if done.best.update(epoch, error, diverged=not math.isfinite(loss)):
            self.best = [to_array(v) for v in self.variables]
        if done.epoch < phase.first_epoch + phase.settings.epochs:
            self._set_rate()
        if self.first:
            number, count = epoch - phase.first_epoch + 1, phase.settings.epochs
            print(f"{phase.name} epoch {number}/{count}: loss {loss:.3f}, val_mae {error:.2f}", file=sys.stderr)
            save_state(self.state, self.variables, self.optimizer.variables, self.best, asdict(done))
        return done.best.stopped

    def _set_rate(self) -> None:
        """The learning rate of the next epoch."""
        epoch = self.done.epoch - self.phase.first_epoch
        self._rate = learning_rate(self.phase.settings, epoch, self.done.best.rate_factor)
        self.optimizer.learning_rate = self._rate

    def _error(self) -> float:
        """The validation error in years, to the last bit the same on all hosts, so that all stop at the same epoch."""
        errors = []
        for first in range(0, len(self.choose), PREDICTION_BATCH):
            rows = self.choose[first : first + PREDICTION_BATCH]
            years = self._answer(tf.constant(self.store.patches[rows])).numpy()
            errors.append(np.abs(years[:, years.shape[1] // 2] - self.study.data.targets[rows, 0]))
        return float(self._mean(tf.constant(np.concatenate(errors).mean())))

    def _over_hosts(self, value):
        return self.strategy.reduce(tf.distribute.ReduceOp.MEAN, self.strategy.run(tf.identity, (value,)), axis=None)

    def result(self) -> Trained:
        assign(self.variables, self.best)
        plan, config, data = self._plan(), self.config, self.study.data
        assign(plan.age.trained.variables, [to_array(v) for v in self.plan.age.trained.variables])
        feed = PixelFeed(plan.age.trained, data, config.training, config.runtime, config.seed, self.phase.views)
        pages = predict_pages(feed, config, data, np.flatnonzero(self.part.score | self.part.choose))
        notes = [note for phase in self.plan.phases for note in self.plan.views_notes(phase)]
        sample = next(iter(feed.pixels(self.learn)))
        return Trained(plan.age, pd.DataFrame(self.done.history), pages, sample, notes)


def train_on_hosts(
    build: Build,
    patches: np.ndarray,
    ages: np.ndarray,
    hosts: Sequence[str],
    index: int,
    epochs: int,
    batch_size: int,
    seed: int = 0,
    on_epoch: Callable[[int, float], bool] | None = None,
    *,
    first_epoch: int = 0,
    shuffle: bool = True,
    augment: Callable[[np.ndarray, np.ndarray, int], np.ndarray] | None = None,
    strategy: tf.distribute.Strategy | None = None,
) -> keras.Model:
    """Trains a model on several hosts.

    Args:
        build: Makes model, optimizer and a loss with `reduction="none"`; seeded, so that all hosts build the same.
        patches: (N, ...), all of them, on every host.
        ages: float32 (N, 1), years.
        hosts: `HOST:PORT` of each, in the same order on all.
        index: Which of them this one is.
        epochs: Passes over the patches.
        batch_size: Of all hosts together; divided by the number of all their GPUs. A last part batch is dropped.
        seed: Of the order. Defaults to 0.
        on_epoch: Called with (epoch, mean loss) on each host; the training ends where it returns `True`, which has to
            be the same on all. Defaults to `None`.
        first_epoch: The epoch to start with; `build` then gives model and optimizer as they were after the one before.
            Defaults to 0.
        shuffle: Whether each epoch has an order of its own. Defaults to `True`.
        augment: Called with (patches, their rows, epoch) on each host's part of a batch, returns patches. Defaults to
            `None`.
        strategy: From `join_hosts`, which a process can call once only, for a second training. Defaults to joining.

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
    own = batch_size // count
    with strategy.scope():
        keras.utils.set_random_seed(seed)
        model, optimizer, loss = build()
        if not optimizer.built:
            optimizer.build(model.trainable_variables)

    def step(x, y):
        context = tf.distribute.get_replica_context()
        # Of the host's patches this device takes its part: every replica is called with all of them.
        part, size = context.replica_id_in_sync_group % devices, own // devices
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
        order = batch_indices(len(patches), seed, epoch) if shuffle else np.arange(len(patches))
        losses = []
        for first in range(0, len(order) - batch_size + 1, batch_size):
            rows = order[first + index * own : first + (index + 1) * own]
            x = patches[rows] if augment is None else augment(patches[rows], rows, epoch)
            x, y = tf.constant(x), tf.constant(ages[rows])
            value, gradients = distributed(x, y)
            losses.append(float(value))
            optimizer.apply(gradients, model.trainable_variables)
        if on_epoch and on_epoch(epoch, float(np.mean(losses))):
            break
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
