"""The hypermodel of ages: `age_keras.training.protocol.train`, the code of every experiment, trains each fold."""

from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np

from age_keras.models.age import build_age_model
from age_keras.models.bundle import save_bundle
from age_keras.training.age_config import AgeConfig
from age_keras.training.batched_heads import train_heads
from age_keras.training.configuration import digest
from age_keras.training.linear_heads import TrainedHead
from age_keras.training.protocol import Part, Trained, train
from age_keras.training.study import Study
from tuning.cross_validated import CrossValidated, OnEpoch
from tuning.failures import RefusedError
from tuning.objective import age_scores
from tuning.spaces import AGE_SPACES


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
        self._heads: tuple[str, list[TrainedHead] | None] = ("", None)

    def space(self, hp: keras_tuner.HyperParameters) -> AgeConfig:
        return AGE_SPACES[self.space_name](hp, self.study.config)

    def build(self, hp: keras_tuner.HyperParameters):
        """The untrained model of a configuration, as `protocol.train` builds it: a `keras.Model`."""
        patches = self.study.data.store.patches
        return build_age_model(self.space(hp).model, patches.shape[1], patches.shape[-1]).trained

    def fit_fold(self, hp: keras_tuner.HyperParameters, fold: int, folder: Path, on_epoch: OnEpoch) -> dict[str, Any]:
        config, part = self.space(hp), self.parts[fold - 1]
        state = folder / f"fold{fold}.npz"
        trained = train(
            config,
            self.study.data,
            self.study.table,
            part,
            state,
            self._head(config, fold),
            on_epoch=on_epoch,
            progress=False,
        )
        figures = self._figures(trained, part)
        if self.keep:
            save_bundle(folder / f"fold{fold}.keras", trained.model.predictor, {"kind": "age", "values": hp.values})
        state.unlink(missing_ok=True)
        keras.utils.clear_session(free_memory=True)
        return figures

    def _head(self, config: AgeConfig, fold: int) -> TrainedHead | None:
        """Phase 1 of a fold: the linear heads of all folds are trained together, when the first is needed."""
        trial = digest(config, 64)
        if self._heads[0] != trial:
            self._heads = (trial, train_heads(self.study, config, self.parts))
        return self._heads[1][fold - 1] if self._heads[1] else None

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
