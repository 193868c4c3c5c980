"""The recogniser's hypermodel: writer-disjoint folds, trained by the recogniser's own training."""

import dataclasses

import numpy as np
import pytest

from age_keras.characters.config import RecogniserTraining, small_config
from age_keras.characters.data.characters import Characters
from tuning.characters.hypermodel import RecogniserHyperModel, character_folds
from tuning.search_digits import DigitsSearchConfig


@pytest.fixture
def characters():
    """Three classes of bars, told apart by their place."""
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = rng.integers(0, 30, (96, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 4 + 8 * label : 8 + 8 * label] = 250
    return Characters(images, labels.astype(np.int64), ("a", "b", "c"), np.full(96, "train"))


def test_folds_keep_writers_together_or_classes_balanced(characters):
    numbers = character_folds(characters, 4)
    assert all((np.bincount(characters.labels[numbers == fold]) == 8).all() for fold in (1, 2, 3, 4))
    writers = np.repeat(np.arange(12), 8)
    numbers = character_folds(dataclasses.replace(characters, writers=writers), 4)
    assert set(numbers) == {1, 2, 3, 4}
    assert all(len(set(numbers[writers == writer])) == 1 for writer in range(12))
    numbers = character_folds(dataclasses.replace(characters, writers=characters.labels), 4)
    assert all((np.bincount(characters.labels[numbers == fold]) == 8).all() for fold in (1, 2, 3, 4))


@pytest.mark.slow
def test_a_trial_is_cross_validated(characters, tmp_path):
    training = RecogniserTraining(epochs=2, batch_size=16, augment=False)
    config = DigitsSearchConfig(folds=2, keep=0)
    model = RecogniserHyperModel(tmp_path, config, characters, small_config(), training)
    hp = model.declared()
    hp.values |= {"units": 32, "attention": "none", "recurrence": "none"}
    result = model.fit(hp, trial_id="0")
    record = model.trials.read("0")
    assert [fold["epochs"] for fold in record.folds] == [2, 2]
    assert result["objective"] == pytest.approx(np.mean(record.column("error")))
    assert 0 <= result["objective"] <= 100
