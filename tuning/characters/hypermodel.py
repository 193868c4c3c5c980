"""The hypermodel of the recogniser: `age_keras.characters.training.train.train_recogniser` trains every fold."""

from pathlib import Path
from typing import Any

import keras
import keras_tuner
import numpy as np
from sklearn.model_selection import StratifiedKFold

from age_keras.characters.config import RecogniserConfig, RecogniserTraining
from age_keras.characters.data.characters import Characters
from age_keras.characters.data.splits import writer_folds
from age_keras.characters.model.recogniser import predict_probabilities
from age_keras.characters.model.saving import save_recogniser
from age_keras.characters.training.train import train_recogniser
from age_keras.characters.training.train_seed import fresh_recogniser
from age_keras.errors import InputError
from tuning.cross_validated import CrossValidated, OnEpoch
from tuning.search_config import SearchSettings
from tuning.spaces import recogniser


def character_folds(characters: Characters, folds: int, seed: int = 0) -> np.ndarray:
    """Folds from 1, disjoint by writer where the writers are known and not the classes, else stratified. int64 (N,)."""
    if characters.writers is not None and not characters.labelled_by_writer:
        return writer_folds(characters.writers, folds, seed) + 1
    if folds > (most := np.bincount(characters.labels).max(initial=0)):
        raise InputError(
            f"No class has a character for each of {folds} folds; the largest has {most}: give fewer folds."
        )
    numbers = np.empty(len(characters), np.int64)
    parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(characters.labels, characters.labels)
    for fold, (_, held) in enumerate(parts, start=1):
        numbers[held] = fold
    return numbers


class RecogniserHyperModel(CrossValidated):
    """Recognisers of some characters. The figure of a fold is `error`, percent of wrong answers.

    Args:
        run: The search's folder.
        config: The search's settings, with the objective `error`.
        characters: What is learnt from; leave out what a later test must not have seen.
        model, training: What the space does not name.
        seed: Of folds, weights, order and augmentation.
    """

    def __init__(
        self,
        run: Path,
        config: SearchSettings,
        characters: Characters,
        model: RecogniserConfig,
        training: RecogniserTraining,
        seed: int = 0,
    ):
        super().__init__(run, config)
        self.characters, self.seed = characters, seed
        self.model, self.training = model, training
        self.numbers = character_folds(characters, self.folds, seed)

    def space(self, hp: keras_tuner.HyperParameters) -> tuple[RecogniserConfig, RecogniserTraining]:
        return recogniser(hp, self.model, self.training)

    def fit_fold(self, hp: keras_tuner.HyperParameters, fold: int, folder: Path, on_epoch: OnEpoch) -> dict[str, Any]:
        shape, training = self.space(hp)
        model = fresh_recogniser(shape, self.characters, self.seed)
        held = self.characters.take(np.flatnonzero(self.numbers == fold))
        history = train_recogniser(
            model,
            self.characters.take(np.flatnonzero(self.numbers != fold)),
            held,
            training,
            seed=self.seed,
            state=folder / f"fold{fold}.npz",
            name=f"{folder.name} fold {fold}",
            callbacks=(keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: on_epoch(epoch, dict(logs))),),
        )
        wrong = predict_probabilities(model, held.images).argmax(axis=1) != held.labels
        if self.keep:
            save_recogniser(folder / f"fold{fold}.keras", model, held.name)
        keras.utils.clear_session(free_memory=True)
        curve = [round(100 * (1 - float(row["val_accuracy"])), 4) for row in history]
        return {"error": 100 * float(wrong.mean()), "epochs": len(history), "curve": curve}
