"""The hypermodel of ages: `age_keras.training.protocol.train`, the code of every experiment, trains each fold."""

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from age_keras.config.age import AgeConfig
from age_keras.config.serialization import digest
from age_keras.errors import InputError
from age_keras.models.age import build_age_model
from age_keras.models.bundle import save_bundle
from age_keras.training.heads.batched import alike, can_batch, train_all_heads
from age_keras.training.heads.linear import TrainedHead
from age_keras.training.model_pool import ModelPool
from age_keras.training.protocol import Part, Trained, train
from age_keras.training.study import Study
from tuning.cross_validated import CrossValidated, OnEpoch
from tuning.failures import RefusedError
from tuning.objective import age_scores
from tuning.spaces import AGE_SPACES

TOGETHER = 10
"""Trials whose linear heads are trained in one pass."""


class AgeHyperModel(CrossValidated):
    """Age models of a study, trained by `protocol.train`.

    Args:
        study: the opened search.
        parts: of the folds.
        space: its name.
        **search: as for `CrossValidated`.
    """

    def __init__(self, study: Study, parts: list[Part], space: str, **search: Any):
        super().__init__(folds=len(parts), **search)
        self.study, self.parts, self.space_name = study, parts, space
        self._heads: dict[str, list[TrainedHead] | None] = {}
        self._pool = ModelPool()

    def space(self, hp: keras_tuner.HyperParameters) -> AgeConfig:
        return AGE_SPACES[self.space_name](hp, self.study.config)

    def build(self, hp: keras_tuner.HyperParameters):
        """The untrained model of a configuration, as `protocol.train` builds it: a `keras.Model`."""
        patches = self.study.data.store.patches
        return build_age_model(self.space(hp).model, patches.shape[1], patches.shape[-1]).trained

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
        """Phase 1 of a fold: the linear heads of all folds, and of the next trials, are trained together.

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
            heads = train_all_heads(self.study, list(together.values()), self.parts, self._pool)
            self._heads |= dict(zip(together, heads or [None] * len(together), strict=True))
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
