"""The training of one model on one part of the pages: the head, then the top of the backbone, the best epoch of both.

The whole story, top to bottom: `train` builds the model, runs the phases, restores the best epoch, predicts. It may be
killed at any moment; called again with the same arguments it resumes from the last saved epoch and ends the same.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np
import pandas as pd

from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.fitting.best_epoch import BestEpoch
from age_keras.models.age import AgeModel
from age_keras.models.heads import HEADS
from age_keras.run.state import assign, load_state, to_array
from age_keras.training.callbacks import EpochKeeper, Progress, ProgressBar
from age_keras.training.feeds import PatchData, PixelFeed, make_feed
from age_keras.training.heads.linear import TrainedHead
from age_keras.training.model_pool import ModelPool
from age_keras.training.phases import PHASES, PhasePlan, patience

Config = TypeVar("Config", bound=AgeConfig)
CHOSEN_ON_SCORED = "Published protocol: the epoch was chosen on the pages that are scored, so the errors are too small."


@dataclass(frozen=True)
class Part:
    """Which pages a model learns from, which choose its epoch, which score it.

    Attributes:
        label: Name of the fold in files and in TensorBoard.
        learn: bool (pages,), the pages that the model is trained on.
        choose: bool (pages,), the pages that choose its epoch.
        score: bool (pages,), the pages that it predicts.
        fold: Number of the fold; 0 for a hold-out.
        repeat: Name of the repeat of a repeated cross-validation, by which its models are told from the first one's.
    """

    label: str
    learn: np.ndarray
    choose: np.ndarray
    score: np.ndarray
    fold: int = 0
    repeat: str = ""


@dataclass
class Trained:
    """A model after its training.

    Attributes:
        model: The model, with the weights of the best epoch.
        history: A row for each epoch.
        pages: A row for each page that chooses or is scored: `page` (its row in the table), `Prediction`, and with a
            quantile head `Lower` and `Upper`, in years.
        sample: Some augmented patches as the model saw them, (n, S, S, C).
        notes: Sentences for the report.
    """

    model: AgeModel
    history: pd.DataFrame
    pages: pd.DataFrame
    sample: np.ndarray
    notes: list[str] = field(default_factory=list)


def train(
    config: AgeConfig,
    data: PatchData,
    table: pd.DataFrame,
    part: Part,
    state: Path | None = None,
    head: TrainedHead | None = None,
    callbacks: Callable[[PhaseConfig], list[keras.callbacks.Callback]] | None = None,
    on_epoch: Callable[[int, dict], None] | None = None,
    title: str = "",
    progress: bool = True,
    pool: ModelPool | None = None,
) -> Trained:
    """Trains one age model.

    Args:
        config: The configuration of one backbone: model, protocol, machine, seed.
        data: The patches of all pages.
        table: A row for each page, with `Age` in years and `Writer`.
        part: Which pages the model learns from, which choose its epoch, which it scores.
        state: A file from which a killed training resumes. Defaults to `None`: nothing is saved.
        head: The result of the frozen phase, where it was trained together with other folds' (`batched_heads`).
            Defaults to `None`.
        callbacks: Makes further Keras callbacks for a phase (TensorBoard). Defaults to `None`.
        on_epoch: Called after each epoch with (epoch, logs); may raise to end the training. Defaults to `None`.
        title: What the progress bar says. Defaults to nothing.
        progress: Whether to show the bar. Defaults to `True`.
        pool: Keeps the model for the next training, which then changes the one returned here. Defaults to `None`.

    Returns:
        The model at its best epoch, its history and its predictions of the pages that choose and that score.
    """
    chosen_or_scored = part.choose | part.score
    learn, choose, others = (_patches(data, pages) for pages in (part.learn, part.choose, chosen_or_scored))
    with machine(config) as scope:
        median, deviation = writer_ages(table, part)
        with scope():
            count, side, _, channels = data.store.patches.shape
            model = (pool or ModelPool()).get(config, side, channels, median, deviation)
            plan = PhasePlan(model, config, count)
        saved = load_state(state) if state else None
        done, arrays = (Progress.from_state(saved[0]), saved[1]) if saved else (Progress(), None)
        bar = ProgressBar(title, sum(p.settings.epochs for p in plan.phases), done.epoch, progress)
        best: list[np.ndarray] = []
        variables: list = []
        feed: Any = None
        notes = [CHOSEN_ON_SCORED] if (part.choose & part.score).any() else []
        for phase in plan.phases:
            if phase.number < done.phase:
                continue
            feed = None  # Its features leave the memory before the next phase's come.
            if variables:
                assign(variables, best)  # The next phase starts from the best epoch of this one.
            with scope():
                variables = plan.begin(phase)
                if arrays:  # Before features are computed: what is frozen now may have been trained before.
                    assign(variables, arrays["variable"])
                feed = make_feed(plan, phase, data, learn, others, notes)
                plan.compile(feed.model, phase, feed.steps_at_once(learn, phase.settings.epochs))
            if arrays:
                assign(feed.model.optimizer.variables, arrays["slot"])
                best = arrays["best"]
            else:
                done.phase, done.epoch = phase.number, phase.first_epoch
                done.best = done.best.next_phase(**patience(phase.settings))
                if head is not None and phase.number == 0:
                    _take_over(head, plan.age, part, done)
                best = [to_array(v) for v in variables]
            arrays = None
            facts = {"fold": part.fold, "phase": phase.name}
            keeper = EpochKeeper(phase, done, variables, best, state, config.runtime.save_every, facts)
            keeper.set_model(feed.model)  # It saves a phase that has nothing left to fit, too.
            bar.phase(f"{title} {phase.name.replace('_', '-')}", done.epoch)
            last = phase.first_epoch + phase.settings.epochs
            if done.epoch < last and not done.best.stopped:
                feed.model.fit(
                    feed.train(learn, done.epoch),
                    steps_per_epoch=feed.steps(learn),
                    initial_epoch=done.epoch,
                    epochs=last,
                    validation_data=feed.validation(choose),
                    callbacks=[
                        keeper,
                        bar,
                        *(callbacks(phase.settings) if callbacks else []),
                        *([keras.callbacks.LambdaCallback(on_epoch_end=on_epoch)] if on_epoch else []),
                    ],
                    shuffle=False,  # The pipeline has done it.
                    verbose=0,
                )
            keeper.save_if_due()
        bar.close()
        assign(variables, best)
        pages = predict_pages(feed, config, data, np.flatnonzero(chosen_or_scored))
        sample = next(iter(feed.pixels(learn)))
    return Trained(plan.age, pd.DataFrame(done.history), pages, sample, notes)


def writer_ages(table: pd.DataFrame, part: Part) -> tuple[float, float]:
    """Median age of the training writers, and their mean absolute deviation from it, in years."""
    writers = table[part.learn].groupby("Writer")["Age"].median()
    median = float(writers.median())
    return median, float((writers - median).abs().mean())


def _take_over(head: TrainedHead, model: AgeModel, part: Part, progress: Progress) -> None:
    """Puts a head into the model, as at the end of a frozen phase that has trained it."""
    model.trained.get_layer("head_output").set_weights([head.kernel, head.bias])
    progress.history += [
        {"fold": part.fold, "phase": PHASES[0], "epoch": i, **logs} for i, logs in enumerate(head.history)
    ]
    progress.epoch = len(head.history)
    if head.best_epoch >= 0:
        progress.best = BestEpoch(value=head.history[head.best_epoch]["val_mae"], epoch=head.best_epoch)
    progress.best.stopped = True


def _patches(data: PatchData, pages: np.ndarray) -> np.ndarray:
    """Rows of the patches of some pages."""
    return np.flatnonzero(pages[data.store.page])


def predict_pages(feed: PixelFeed, config: AgeConfig, data: PatchData, pages: np.ndarray) -> pd.DataFrame:
    """A page's age is the mean of its patches'."""
    rows = np.flatnonzero(np.isin(data.store.page, pages))
    years = keras.ops.convert_to_numpy(HEADS[config.model.head].decode(feed.predict(rows)))
    by_page = pd.DataFrame(years).groupby(data.store.page[rows]).mean()
    columns = ["Lower", "Prediction", "Upper"] if years.shape[1] == 3 else ["Prediction"]
    return by_page.set_axis(columns, axis=1).rename_axis("page").reset_index()


@contextlib.contextmanager
def machine(config: AgeConfig) -> Iterator[Callable]:
    """Sets the precision for a training, and gives the scope of its distribution strategy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(config.runtime.precision)
    try:
        if config.runtime.strategy == "mirrored":
            import tensorflow as tf

            yield tf.distribute.MirroredStrategy().scope
        else:
            yield contextlib.nullcontext
    finally:
        keras.config.set_dtype_policy(before)


def with_backbone(config: Config, backbone: str) -> Config:
    """The configuration of one of an experiment's backbones."""
    return replace(config, backbones=(backbone,))
