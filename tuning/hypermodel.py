"""Age models in a search: hold-out and folds, and the hypermodel, which trains a fold as every experiment does."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from age_keras.config.age import AgeConfig
from age_keras.config.serialization import digest
from age_keras.data.splits import holdout, inner_split, kfold, refuse_leak
from age_keras.errors import InputError
from age_keras.run.bundle import save_bundle
from age_keras.training.heads.batched import alike, can_batch, train_all_heads
from age_keras.training.heads.linear import TrainedHead
from age_keras.training.holdout import write_split
from age_keras.training.model_pool import ModelPool
from age_keras.training.protocol import Part, Trained, train
from age_keras.training.study import Study
from tuning.cross_validated import CrossValidated, OnEpoch
from tuning.failures import RefusedError
from tuning.objective import age_scores
from tuning.search_config import SearchConfig
from tuning.spaces import AGE_SPACES

TOGETHER = 10
"""Trials whose linear heads are trained in one pass."""


class AgeHyperModel(CrossValidated):
    """Age models of a study, trained by `protocol.train`.

    Args:
        study: The opened search; its configuration is a `SearchConfig`.
        parts: The folds, from `search_parts`.
        worker: The name under which trials are recorded.
    """

    def __init__(self, study: Study[SearchConfig], parts: list[Part], worker: str = "tuner0"):
        super().__init__(study.run.path, study.config, worker)
        self.study, self.parts = study, parts
        self._heads: dict[str, list[TrainedHead] | None] = {}
        self._pool = ModelPool()

    def space(self, hp: keras_tuner.HyperParameters) -> AgeConfig:
        return AGE_SPACES[self.study.config.space](hp, self.study.config)

    def fit_fold(self, hp: keras_tuner.HyperParameters, fold: int, folder: Path, on_epoch: OnEpoch) -> dict[str, Any]:
        config, part = self.space(hp), self.parts[fold - 1]
        trained = train(
            replace(config, runtime=replace(config.runtime, save_every=0.0)) if self.careful else config,
            self.study.data,
            self.study.table,
            part,
            folder / f"fold{fold}.npz",
            self._head(config, fold),
            on_epoch=on_epoch,
            progress=False,
            pool=self._pool,
        )
        figures = self._figures(trained, part)
        if self.keep:
            save_bundle(folder / f"fold{fold}.keras", trained.model.predictor, {"kind": "age", "values": hp.values})
        keras.utils.clear_session(free_memory=True)
        return figures

    def _head(self, config: AgeConfig, fold: int) -> TrainedHead | None:
        """The frozen phase of a fold: the linear heads of all folds, and of the next trials, are trained together.

        They are as without the others, to the last bit, so it does not matter who trains with whom, or again after
        this process was killed.
        """
        name = digest(config, 64)
        if name not in self._heads:
            together = {name: config}
            for hp in self.ahead(TOGETHER - 1) if can_batch(config) else ():
                # A configuration that is refused is refused when its trial comes.
                with contextlib.suppress(InputError):
                    other = self.space(hp)
                    if alike(config, other):
                        together[digest(other, 64)] = other
            trained = train_all_heads(self.study, list(together.values()), self.parts, self._pool)
            self._heads |= dict(zip(together, trained, strict=True)) if trained else dict.fromkeys(together)
        heads = self._heads[name]
        return heads[fold - 1] if heads else None

    def _figures(self, trained: Trained, part: Part) -> dict[str, Any]:
        table = self.study.table
        if not np.isfinite(trained.history["loss"]).all():
            raise RefusedError("nan", f"the loss became NaN in fold {part.fold}")
        scored = trained.pages[part.score[trained.pages["page"].to_numpy()]]
        truth = table["Age"].to_numpy()[scored["page"]]
        labeled = np.isfinite(truth)
        constant = float(table[part.learn].groupby("Writer")["Age"].median().median())
        predicted = scored["Prediction"].to_numpy()
        return {
            **age_scores(truth[labeled], predicted[labeled], constant, self.study.config.bands),
            "pages": int(labeled.sum()),
            "writers": int(table["Writer"].iloc[scored["page"]][labeled].nunique()),
            "epochs": len(trained.history),
            "curve": [round(float(value), 4) for value in trained.history["val_mae"]],
        }


def search_parts(study: Study[SearchConfig], folds: int) -> tuple[list[Part], Part]:
    """The folds of the trials, and the part on which the chosen configuration is measured once.

    The outer hold-out is the table's own `test` part where it has one, else `config.test` of the pages, by writer and
    age band. All is recorded page by page in the run.

    Returns:
        A part for each fold, and the outer part: learns from and chooses among what the trials saw, scores the rest.

    Raises:
        InputError: a leak, no outer writers, or more folds than an age band has writers.
    """
    config, table = study.config, study.table
    outer = _outer(study)
    seen = np.flatnonzero(~outer)
    numbers = np.zeros(len(table), np.int64)
    numbers[seen] = kfold(table.iloc[seen], folds, config.seed, config.bands)
    refuse_leak(table, numbers)
    write_split(study, np.where(outer, "test", "oof"), [numbers])
    fraction = config.selection_fraction
    parts = []
    for fold in range(1, folds + 1):
        learn, choose = inner_split(table, (numbers != fold) & ~outer, fraction, config.seed + fold, config.bands)
        parts.append(Part(f"fold{fold}", learn, choose, numbers == fold, fold))
    learn, choose = inner_split(table, ~outer, fraction, config.seed, config.bands)
    return parts, Part("outer", learn, choose, outer)


def _outer(study: Study[SearchConfig]) -> np.ndarray:
    config, table = study.config, study.table
    if config.use_split and "Split" in table and table["Split"].notna().all():
        outer = table["Split"].to_numpy(str) == "test"
        refuse_leak(table, outer)
    else:
        outer = holdout(table, 0.0, config.test, config.seed, config.bands) == "test"
    if not outer.any():
        raise InputError("A search needs writers that no trial sees: the table's split has no `test` part.")
    if outer.all():
        raise InputError("All pages are in the `test` part of the table's split: give --no-use-split.")
    return outer
