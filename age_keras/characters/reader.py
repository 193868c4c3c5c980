"""A saved recogniser that reads pictures of single characters, with the confidence of each answer."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from age_keras.characters.data.images import read_character
from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class Reading:
    """A recogniser's answer to one image.

    Attributes:
        image: The file.
        digit: The most probable class; `None` if the image could not be read.
        probability: The calibrated probability of that class.
        set: The conformal set, which holds the truth as often as the model promises.
        unsure: Whether the probability is under the model's threshold, so that the digit is not reliable.
        error: What is wrong with the image, if anything.
    """

    image: str
    digit: str | None = None
    probability: float | None = None
    set: tuple[str, ...] = ()
    unsure: bool = True
    error: str | None = None


class Recogniser:
    """Reads pictures of characters with a model from `experiments/digits_*.py`.

    Args:
        path: The `.keras` file.

    Raises:
        InputError: The file is missing, or is not a recogniser.

    Example:
        >>> readings = Recogniser("runs/digits_mnist/usual/checkpoints/seed0.keras").read(["seven.png"])
        >>> readings[0].image
        'seven.png'
    """

    def __init__(self, path: str | Path):
        import tensorflow as tf

        from age_keras.characters.model.saving import load_recogniser

        self.model = model = load_recogniser(Path(path))
        self._last = model.get_layer("probabilities")
        self.classes = self._last.classes
        self.image_size = model.input_shape[1]
        self._call = tf.function(lambda x: model(x, training=False), reduce_retracing=True)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Calibrated probabilities `(N, classes)` of images `uint8 (N, S, S)`, bright ink on 0."""
        import tensorflow as tf

        return self._call(tf.constant(images[..., None], tf.float32)).numpy()

    def read(self, paths: Sequence[str | Path]) -> list[Reading]:
        """Reads pictures of any size, dark on light or light on dark, one character each."""
        found: list[np.ndarray | str] = []
        for path in paths:
            try:
                found.append(read_character(path, self.image_size))
            except InputError as error:
                found.append(str(error))
        good = [image for image in found if not isinstance(image, str)]
        rows = iter(self.probabilities(np.stack(good)) if good else ())
        return [
            Reading(str(path), error=image) if isinstance(image, str) else self._reading(str(path), next(rows))
            for path, image in zip(paths, found, strict=True)
        ]

    def _reading(self, path: str, row: np.ndarray) -> Reading:
        best = int(row.argmax())
        threshold, abstain = float(self._last.set_threshold.numpy()), float(self._last.abstain_below.numpy())
        order = np.argsort(-row, kind="stable")
        names = tuple(self.classes[i] for i in order if row[i] >= threshold or i == best)
        return Reading(path, self.classes[best], float(row[best]), names, bool(row[best] < abstain))
