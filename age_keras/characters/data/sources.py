"""Sets of characters by name: one way to load MNIST, EMNIST, scikit-learn's digits, IAM, or a folder per class."""

from pathlib import Path
from typing import Any, get_args

import numpy as np

from age_keras.characters.config import DataName
from age_keras.characters.data.array_files import find_idx, read_idx, read_npz
from age_keras.characters.data.characters import Characters, join_published
from age_keras.characters.data.emnist import load_emnist
from age_keras.characters.data.iam import load_iam
from age_keras.characters.data.images import load_folder
from age_keras.characters.data.splits import stratified_holdout
from age_keras.errors import InputError

Arrays = tuple[np.ndarray, np.ndarray]
DIGITS = tuple("0123456789")
IAM: dict[str, tuple[Any, Any]] = {
    "iam-words": ("words", "writer"),
    "iam-lines": ("lines", "writer"),
    "iam-words-text": ("words", "text"),
    "iam-lines-text": ("lines", "text"),
}
NAMES = get_args(DataName)

_HOW_MNIST = (
    "Give --path: mnist.npz (https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz) or the folder of "
    "MNIST's four IDX files (train-images-idx3-ubyte[.gz] ...); without --path Keras downloads it."
)


def load_characters(
    name: str = "digits", path: str | Path | None = None, *, writers: str | Path | None = None, image_size: int = 28
) -> Characters:
    """Loads a set of characters.

    Args:
        name: One of `NAMES`: "digits" (scikit-learn's, needs no file), "mnist", "emnist-balanced" and EMNIST's five
            other splits, "folder", "iam-words" and "iam-lines" (the class is the writer), "iam-words-text" and
            "iam-lines-text" (the class is what is written). Defaults to "digits".
        path: The file or folder. Where it is missing, the error says what to give.
        writers: For MNIST, `mnist_writers.npz`, which names the writer of each digit. Defaults to none.
        image_size: Side of the images for "digits", "folder" and IAM; MNIST and EMNIST have 28. Defaults to 28.

    Returns:
        The characters, with the published split into "train" and "test" where there is one.

    Raises:
        InputError: The name is unknown, or a file is missing or broken; the message says how to get it.
    """
    if writers is not None and name != "mnist":
        raise InputError(f"A file of writers belongs to MNIST. Received: data={name}, writers={writers}.")
    if name == "digits" and path is not None:
        raise InputError(f"scikit-learn's digits need no file; name another set with --data. Received: path={path}.")
    if name == "digits":
        characters = load_sklearn(image_size)
    elif name == "mnist":
        characters = load_mnist(path)
    elif name.startswith("emnist-"):
        characters = load_emnist(path, name.removeprefix("emnist-"))
    elif name == "folder":
        characters = load_folder(path, image_size)
    elif name in IAM:
        characters = load_iam(path, *IAM[name], image_size=image_size)
    else:
        raise InputError(f"There is no set of characters {name!r}; there are {', '.join(NAMES)}.")
    return characters if writers is None else with_mnist_writers(characters, writers)[0]


def load_mnist(path: str | Path | None = None) -> Characters:
    """MNIST: from `mnist.npz`, from a folder of its IDX files, or downloaded by Keras where `path` is `None`."""
    if path is None:
        arrays = _mnist_by_keras()
    elif Path(path).is_dir():
        arrays = _mnist_from_idx(Path(path))
    elif Path(path).is_file():
        arrays = _mnist_from_npz(Path(path))
    else:
        raise InputError(f"MNIST is not at {path}. {_HOW_MNIST}")
    images, labels, split = join_published(*arrays, source="MNIST" if path is None else path)
    return Characters(images, labels, DIGITS, split, name="mnist")


def load_sklearn(image_size: int = 28, seed: int = 0) -> Characters:
    """scikit-learn's 1,797 digits of 8x8 pixels, enlarged; a stratified fifth is the test."""
    import cv2
    from sklearn.datasets import load_digits

    digits = load_digits()
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    margin = max(1, round(image_size * 4 / 28))
    inner = image_size - 2 * margin
    images = np.zeros((len(small), image_size, image_size), np.uint8)
    for image, digit in zip(images, small, strict=True):
        image[margin:-margin, margin:-margin] = cv2.resize(digit, (inner, inner), interpolation=cv2.INTER_LINEAR)
    split = np.full(len(small), "train", dtype="U5")
    split[stratified_holdout(digits.target, 0.2, seed)[1]] = "test"
    return Characters(images, digits.target.astype(np.int64), DIGITS, split, name="digits")


def with_mnist_writers(characters: Characters, path: str | Path) -> tuple[Characters, np.ndarray]:
    """Adds who wrote each of MNIST's digits.

    Args:
        characters: All of MNIST, in its canonical order.
        path: `mnist_writers.npz` (from QMNIST, Yadav & Bottou 2019): `writer_train`, `hsf_train`, `writer_test`,
            `hsf_test`.

    Returns:
        The characters with their writers, and `hsf` `int64 (N,)`, the part of NIST's collection: 0 to 3 employees of
        the census, 4 high-school students.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"There is no {path}; writers come from QMNIST's labels (https://github.com/facebookresearch/qmnist)."
        )
    file = read_npz(path, ("writer_train", "writer_test", "hsf_train", "hsf_test"))
    for name, array in file.items():
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise InputError(f"{path}: {name} must be whole numbers (N,), not {array.dtype} {array.shape}.")
    writers = np.concatenate([file["writer_train"], file["writer_test"]])
    hsf = np.concatenate([file["hsf_train"], file["hsf_test"]]).astype(np.int64)
    if not len(writers) == len(hsf) == len(characters):
        raise InputError(
            f"{path} names {len(writers)} writers and {len(hsf)} of their groups for {len(characters)} digits; they "
            "must be aligned."
        )
    return characters.with_writers(writers), hsf


def _mnist_by_keras() -> tuple[Arrays, Arrays]:
    import keras

    try:
        return keras.datasets.mnist.load_data()
    except Exception as error:  # Keras raises whatever the network raised.
        raise InputError(f"Keras could not download MNIST ({error}). {_HOW_MNIST}") from error


def _mnist_from_npz(path: Path) -> tuple[Arrays, Arrays]:
    file = read_npz(path, ("x_train", "y_train", "x_test", "y_test"))
    return (file["x_train"], file["y_train"]), (file["x_test"], file["y_test"])


def _mnist_from_idx(folder: Path) -> tuple[Arrays, Arrays]:
    def read(part: str) -> Arrays:
        images = find_idx(folder, f"{part}-images-idx3-ubyte")
        labels = find_idx(folder, f"{part}-labels-idx1-ubyte")
        if images is None or labels is None:
            raise InputError(
                f"{folder} lacks MNIST's {part}-images-idx3-ubyte or {part}-labels-idx1-ubyte. {_HOW_MNIST}"
            )
        return read_idx(images), read_idx(labels)

    return read("train"), read("t10k")
