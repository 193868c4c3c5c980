"""The training of one model on one split: phase 1 the head, phase 2 the top of the backbone, the best epoch of both.

The whole story, top to bottom: `train` builds the model, runs the phases, restores the best epoch, predicts. It may be
killed at any moment; called again with the same arguments it goes on from the last saved epoch and ends the same.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.models.age import AgeModel, backbone_layers, unfreeze
from age_keras.models.heads import HEADS
from age_keras.run.state import assign, load_state, to_array
from age_keras.training.callbacks import EpochKeeper, ProgressBar, Stopper, fresh_counters, new_phase
from age_keras.training.feeds import PatchData, PixelFeed, make_feed
from age_keras.training.heads.linear import TrainedHead
from age_keras.training.model_pool import ModelPool

PHASES = ("frozen", "fine_tune")


@dataclass(frozen=True)
class Part:
    """Which pages a model learns from, which choose its epoch, which score it.

    Attributes:
        label: names the fold in files and in TensorBoard.
        learn, choose, score: bool (pages,).
        fold: its number; 0 for a hold-out.
        repeat: names the repeat of a repeated cross-validation; its models stand beside those of the first.
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
        model: with the weights of the best epoch.
        history: a row for each epoch.
        pages: predictions, a row for each page asked for: `page` (row of the table), `Prediction`, and with a quantile
            head `Lower`, `Upper`; years.
        sample: some augmented patches as the model saw them, (n, S, S, C).
        notes: what the report should say of this training.
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
        config: model, protocol, machine, seed.
        data: the patches of all pages.
        table: the pages: `Age`, `Writer`.
        part: which pages do what.
        state: a file that resumes a killed training; None for none.
        head: phase 1's result, where it was trained together with other folds' (`batched_heads`).
        callbacks: makes further Keras callbacks for a phase (TensorBoard).
        on_epoch: called after each epoch with (epoch, logs); may raise to end the training.
        title: what the progress bar says.
        progress: show it.
        pool: keeps the model for the next training, which then makes the one returned here its own.

    Returns:
        The model at its best epoch, its history and its predictions of the pages that choose and that score.
    """
    pool = pool or ModelPool(keep=False)
    chooses = choosing_pages(config, part)
    learn, choose, others = (_patches(data, pages) for pages in (part.learn, chooses, chooses | part.score))
    with machine(config) as scope:
        median, deviation = writer_ages(table, part)
        with scope():
            side, channels = data.store.patches.shape[1], data.store.patches.shape[-1]
            model = pool.build(config, side, channels, median, deviation)
        saved = load_state(state) if state else None
        counters, arrays = saved or (fresh_counters(), None)
        phases = [getattr(config.training, name) for name in PHASES]
        bar = ProgressBar(title, sum(p.epochs for p in phases), counters["epoch"], progress)
        best: list[np.ndarray] = []
        variables: list = []
        feed, notes = None, []
        for number, phase in enumerate(phases):
            if phase.epochs == 0 or number < counters["phase"]:
                continue
            first_epoch = sum(p.epochs for p in phases[:number])
            feed = None  # Its features leave the memory before the next phase's come.
            if variables:
                assign(variables, best)  # the next phase starts from the best epoch of this one
            with scope():
                ahead = pool.ahead(model, config, phase)
                moving = unfreeze(model, phase.unfreeze)
                variables = _moving_variables(model, moving)
                feed = make_feed(model, data, config, phase, learn, others, notes, pool.split(model, phase), ahead)
                pool.compile(feed.model, model, config, phase, feed.steps_at_once(learn, phase.epochs))
            if arrays and number == counters["phase"]:
                assign(variables, arrays["variable"])
                assign(feed.model.optimizer.variables, arrays["slot"])
                best = arrays["best"]
            else:
                counters |= {"phase": number, "epoch": first_epoch} | new_phase()
                if head is not None and number == 0:
                    counters |= _take_over(head, model, part)
                best = [to_array(v) for v in variables]
            arrays = None
            facts = {"fold": part.fold, "phase": PHASES[number]}
            keeper = EpochKeeper(phase, counters, variables, best, state, config.runtime.save_every, first_epoch, facts)
            keeper.set_model(feed.model)  # it saves a phase that has nothing left to fit, too
            bar.phase(f"{title} {PHASES[number].replace('_', '-')}", counters["epoch"])
            if counters["epoch"] < first_epoch + phase.epochs and not counters["stopped"]:
                feed.model.fit(
                    feed.train(learn, counters["epoch"]),
                    steps_per_epoch=feed.steps(learn),
                    initial_epoch=counters["epoch"],
                    epochs=first_epoch + phase.epochs,
                    validation_data=feed.validation(choose),
                    callbacks=[
                        keeper,
                        bar,
                        *(callbacks(phase) if callbacks else []),
                        *([Stopper(on_epoch)] if on_epoch else []),
                    ],
                    shuffle=False,  # the pipeline has done it
                    verbose=0,
                )
            keeper.save_if_due()
        bar.close()
        assign(variables, best)
        pages = predict_pages(feed, config, data, np.flatnonzero(part.score | chooses))
        sample = next(iter(feed.pixels(learn)))
    pool.give_back()
    return Trained(model, pd.DataFrame(counters["history"]), pages, sample, notes)


def choosing_pages(config: AgeConfig, part: Part) -> np.ndarray:
    """The pages that choose the epoch, bool (N,): in the published protocol's cross-validation, the scored ones."""
    return part.score if config.training.selection == "published" and not part.choose.any() else part.choose


def writer_ages(table: pd.DataFrame, part: Part) -> tuple[float, float]:
    """Median age of the training writers, and their mean absolute deviation from it, in years."""
    writers = table[part.learn].groupby("Writer")["Age"].median()
    median = float(writers.median())
    return median, float((writers - median).abs().mean())


def _take_over(head: TrainedHead, model: AgeModel, part: Part) -> dict:
    """Puts a head into the model, and gives the counters of a phase 1 that has ended with it."""
    model.trained.get_layer("head_output").set_weights([head.kernel, head.bias])
    rows = [{"fold": part.fold, "phase": PHASES[0], "epoch": i, **logs} for i, logs in enumerate(head.history)]
    best = min(logs["val_mae"] for logs in head.history)
    return {
        "epoch": len(rows),
        "best": best,
        "best_epoch": head.best_epoch,
        "best_phase": 0,
        "history": rows,
        "stopped": True,
    }


def _patches(data: PatchData, pages: np.ndarray) -> np.ndarray:
    """Rows of the patches of some pages."""
    return np.flatnonzero(pages[data.store.page])


def _moving_variables(model: AgeModel, unfrozen: int) -> list:
    """All variables that a phase may change: those of the unfrozen layers and of the head, random states too."""
    backbone = backbone_layers(model.trained)
    frozen = {id(layer) for layer in backbone[: len(backbone) - unfrozen]}
    layers = [layer for layer in model.trained.layers if id(layer) not in frozen]
    return [variable for layer in layers for variable in layer.variables]


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


def with_backbone(config: AgeConfig, backbone: str) -> AgeConfig:
    """The configuration of one of an experiment's backbones."""
    return replace(config, backbones=(backbone,))
