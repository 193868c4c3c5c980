"""An age model trained by several hosts: the protocol's two phases on `multi_host`, the best epoch kept, resumable."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.data.batches.augment import get_policy
from age_keras.data.batches.views import epoch_views, view_keys
from age_keras.errors import InputError
from age_keras.models.age import AgeModel, build_age_model, unfreeze
from age_keras.models.heads import HEADS
from age_keras.run.state import assign, load_state, save_state, to_array
from age_keras.training.distributed.multi_host import train_on_hosts
from age_keras.training.feeds import PREDICTION_BATCH, PixelFeed
from age_keras.training.optimizers import build_optimizer
from age_keras.training.protocol import PHASES, Part, Trained, predict_pages, with_backbone, writer_ages
from age_keras.training.study import Study


def train_hosted(
    study: Study, part: Part, strategy: tf.distribute.Strategy, hosts: Sequence[str], index: int, state: Path
) -> Trained:
    """Trains one model on all hosts.

    Args:
        study: opened on every host, of one backbone.
        part: a hold-out.
        strategy: from `join_hosts`.
        hosts, index: all machines, and this one's place among them.
        state: a file that all hosts read and the first one writes after each epoch.

    Returns:
        The model at its best epoch, the same on every host, outside of the strategy.
    """
    config = with_backbone(study.config, study.config.backbones[0])
    if config.training.mix != "none" or study.data.weights is not None:
        raise InputError("Several hosts train without --training.mix and --training.rare-ages.")
    hosted = _Hosted(study, config, part, state, first=index == 0)
    for number, name in enumerate(PHASES):
        phase = getattr(config.training, name)
        if phase.epochs and number >= hosted.counters["phase"]:
            hosted.begin(number, phase)
            rows = hosted.learn
            train_on_hosts(
                hosted.build,
                study.data.store.patches[rows],
                study.data.targets[rows],
                hosts,
                index,
                phase.epochs,
                config.training.batch_size,
                config.seed + number,
                hosted.on_epoch,
                first_epoch=hosted.counters["epoch"],
                augment=hosted.augment,
                strategy=strategy,
            )
    return hosted.result()


class _Hosted:
    """What a host knows of the training: the model of the phase, the best epoch so far, the history."""

    def __init__(self, study: Study, config: AgeConfig, part: Part, state: Path, first: bool):
        self.study, self.config, self.part, self.state, self.first = study, config, part, state, first
        store = study.data.store
        self.learn, self.choose = (np.flatnonzero(pages[store.page]) for pages in (part.learn, part.choose))
        self.policy = get_policy(config.training.augment, config.training.strength)
        self.views = None if config.training.views in ("inf", "auto") else int(config.training.views)
        self.saved = load_state(state)
        self.counters: dict[str, Any] = {"phase": 0, "epoch": 0, "best": math.inf, "history": []}
        if self.saved:
            self.counters = self.saved[0]
        self.best: list[np.ndarray] = self.saved[1]["best"] if self.saved else []
        self.phase: PhaseConfig | None = None
        self.model: AgeModel | None = None

    def begin(self, number: int, phase: PhaseConfig) -> None:
        """A phase starts from the best epoch so far, or goes on."""
        self.phase = phase
        if number != self.counters["phase"]:
            self.counters |= {"phase": number, "epoch": 0}
            self.saved = None

    def plain(self) -> AgeModel:
        """The untrained model."""
        patches = self.study.data.store.patches
        ages = writer_ages(self.study.table, self.part)
        return build_age_model(
            self.config.backbone, self.config.model, patches.shape[1], patches.shape[-1], *ages, self.config.seed
        )

    def build(self) -> tuple[keras.Model, keras.optimizers.Optimizer, keras.losses.Loss]:
        """For `train_on_hosts`: the model as this phase finds it."""
        self.model = self.plain()
        unfreeze(self.model, self.phase.unfreeze)
        self.optimizer = build_optimizer(self.phase, track=False)
        self.optimizer.build(self.model.trained.trainable_variables)
        variables = self.model.trained.variables
        if self.saved:
            assign(variables, self.saved[1]["variable"])
            assign(self.optimizer.variables, self.saved[1]["slot"])
        elif self.best:
            assign(variables, self.best)
        loss = HEADS[self.config.model.head].loss(self.config.model.loss)
        loss.reduction = "none"
        decode = HEADS[self.config.model.head].decode
        self.answer = tf.function(lambda x: decode(self.model.trained(x, training=False)))
        return self.model.trained, self.optimizer, loss

    def augment(self, patches: np.ndarray, rows: np.ndarray, epoch: int) -> np.ndarray:
        keys = self.study.data.store.keys[self.learn[rows]]
        views = epoch_views(keys, epoch, self.views, self.config.seed)
        return keras.ops.convert_to_numpy(self.policy(patches, view_keys(keys, views, self.config.seed)))

    def on_epoch(self, epoch: int, loss: float) -> None:
        """Scores the epoch, keeps it where it is the best, and saves."""
        patches, ages = self.study.data.store.patches, self.study.data.targets
        errors = []
        for first in range(0, len(self.choose), PREDICTION_BATCH):
            rows = self.choose[first : first + PREDICTION_BATCH]
            years = self.answer(tf.constant(patches[rows])).numpy()
            errors.append(np.abs(years[:, years.shape[1] // 2] - ages[rows, 0]))
        error = float(np.concatenate(errors).mean())
        counters, variables = self.counters, self.model.trained.variables
        counters["epoch"] = epoch + 1
        name, number = PHASES[counters["phase"]], len(counters["history"])
        counters["history"].append({"fold": 0, "phase": name, "epoch": number, "loss": loss, "val_mae": error})
        if error < counters["best"]:
            counters["best"], self.best = error, [to_array(v) for v in variables]
        if self.first:
            print(
                f"{name} epoch {epoch + 1}/{self.phase.epochs}: loss {loss:.3f}, val_mae {error:.2f}", file=sys.stderr
            )
            save_state(self.state, variables, self.optimizer.variables, self.best, counters)

    def result(self) -> Trained:
        age = self.plain()
        assign(age.trained.variables, self.best)
        config, data = self.config, self.study.data
        feed = PixelFeed(age.trained, data, config.training, config.runtime, config.seed, self.views)
        pages = predict_pages(feed, config, data, np.flatnonzero(self.part.score | self.part.choose))
        sample = next(iter(feed.pixels(self.learn)))
        return Trained(age, pd.DataFrame(self.counters["history"]), pages, sample, [])
