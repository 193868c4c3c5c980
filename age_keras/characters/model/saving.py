"""Recognisers as files: one `.keras` bundle with the weights, the classes and the thresholds of confidence."""

from pathlib import Path

import keras

from age_keras.characters.model.attention import DotProductAttention, PositionEmbedding
from age_keras.characters.model.calibrated_softmax import CalibratedSoftmax
from age_keras.characters.model.test_time_augmentation import AugmentedViews, MeanOverViews
from age_keras.errors import InputError
from age_keras.run.bundle import load_bundle, save_bundle

# A file is read back only where the modules of its layers are imported.
LAYERS = (DotProductAttention, PositionEmbedding, CalibratedSoftmax, AugmentedViews, MeanOverViews)


def save_recogniser(path: Path, model: keras.Model, data: str) -> None:
    """Saves a recogniser without its optimizer; whole or not at all.

    Args:
        path: The `.keras` file.
        model: The recogniser, calibrated.
        data: Name of the characters it was trained on.
    """
    plain = keras.Model(model.input, model.output, name=model.name)
    save_bundle(path, plain, {"kind": "characters", "data": data})


def load_recogniser(path: Path) -> keras.Model:
    """A saved recogniser. Its last layer holds all that a prediction needs, so a plain Keras file of one will do.

    Raises:
        InputError: The file is missing or holds something else.
    """
    model, _ = load_bundle(path, "characters", plain=True)
    if not isinstance(model.layers[-1], CalibratedSoftmax):
        raise InputError(f"{path} is not a recogniser: train one with python -m experiments.digits_mnist.")
    return model
