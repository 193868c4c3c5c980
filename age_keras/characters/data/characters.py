"""Characters: small grey images with a class each."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from age_keras.errors import InputError


@dataclasses.dataclass(frozen=True)
class Characters:
    """A set of characters, whatever file it came from.

    Attributes:
        images: `uint8 (N, S, S)`, bright ink on a background of 0.
        labels: `int64 (N,)`, an index into `classes`.
        classes: Names of the classes.
        split: `(N,)` of "train" and "test", as published with the set; all "train" where there is no such split.
        writers: `int64 (N,)`, the writer of each; `None` if unknown.
        name: Name of the set in reports.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    split: np.ndarray
    writers: np.ndarray | None = None
    name: str = "characters"

    def __post_init__(self):
        counts = {len(self.images), len(self.labels), len(self.split)}
        if self.writers is not None:
            counts.add(len(self.writers))
        if len(counts) != 1:
            raise InputError(f"{self.name}: images, labels, split and writers differ in number: {sorted(counts)}.")
        if self.images.dtype != np.uint8 or self.images.ndim != 3:
            raise InputError(
                f"{self.name}: images must be uint8 (N, S, S), not {self.images.dtype} {self.images.shape}."
            )
        if len(self.labels) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise InputError(f"{self.name}: a label lies outside its {len(self.classes)} classes.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def fingerprint(self) -> str:
        """A hash of the pixels, labels and split: says in a report what was trained on."""
        digest = hashlib.sha256()
        for part in (self.images, self.labels, self.split.astype("U8")):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()[:16]

    def take(self, rows: np.ndarray) -> "Characters":
        """The characters of these rows (numbers or a mask), in this order."""
        writers = None if self.writers is None else self.writers[rows]
        return dataclasses.replace(
            self, images=self.images[rows], labels=self.labels[rows], split=self.split[rows], writers=writers
        )

    def part(self, split: str) -> "Characters":
        """The characters of one part of the published split."""
        return self.take(self.split == split)

    @property
    def labelled_by_writer(self) -> bool:
        """Whether the class is the writer: then a split by writer would test on classes that nobody learnt."""
        if self.writers is None:
            return False
        classes, names = (np.unique(x, return_inverse=True)[1] for x in (self.labels, self.writers))
        pairs = np.unique(classes * len(self) + names)
        return len(pairs) == len(np.unique(classes)) == len(np.unique(names))

    def with_writers(self, writers: np.ndarray) -> "Characters":
        """The same characters, with who wrote each."""
        return dataclasses.replace(self, writers=np.asarray(writers, np.int64))


def join_published(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], source: str | Path
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Puts the two parts of a published set together.

    Args:
        train: Images `uint8 (N, S, S)` and labels `(N,)`.
        test: The same for the test part.
        source: Where they were read from, for the message.

    Returns:
        Images, labels `int64` and `split`, as `Characters` takes them.

    Raises:
        InputError: A part has another shape or type.
    """
    for name, (images, labels) in (("training", train), ("test", test)):
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != train[0].shape[1:]:
            raise InputError(
                f"{source}: the {name} images must be uint8 (N, S, S), not {images.dtype} {images.shape}; download "
                "them again."
            )
        if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
            raise InputError(
                f"{source}: the {name} labels must be {len(images)} whole numbers, one for each image, not "
                f"{labels.dtype} {labels.shape}; download them again."
            )
    return (
        np.concatenate([train[0], test[0]]),
        np.concatenate([train[1], test[1]]).astype(np.int64),
        np.repeat(["train", "test"], [len(train[1]), len(test[1])]),
    )
