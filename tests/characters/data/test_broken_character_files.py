"""Files of characters that are empty, cut, damaged or something else: each is one sentence that names the file."""

import io
import itertools
import zipfile

import numpy as np
import pytest
from idx_files import write_idx

from age_keras.characters.data.emnist import load_emnist
from age_keras.characters.data.sources import load_mnist, load_sklearn, with_mnist_writers
from age_keras.errors import InputError

_IMAGES = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
_LABELS = np.arange(30, dtype=np.uint8) % 10
_FILES = {"images-idx3": _IMAGES, "labels-idx1": _LABELS}


def _mnist_arrays(**changes):
    x, y = _IMAGES, _LABELS
    return {"x_train": x[:20], "y_train": y[:20], "x_test": x[20:], "y_test": y[20:], **changes}


def _npz(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _matlab():
    import scipy.io

    buffer = io.BytesIO()
    part = {"images": _IMAGES.reshape(-1, 784), "labels": _LABELS[:, None]}
    scipy.io.savemat(buffer, {"dataset": {"train": part, "test": part}})
    return buffer.getvalue()


def _flipped(data):
    """Another byte in the middle: the archive's directory is whole, a member is not."""
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :]


BROKEN_NPZ = {
    "empty": b"",
    "cut": _npz(**_mnist_arrays())[:-200],
    "damaged": _flipped(_npz(**_mnist_arrays())),
    "npy": _npy(np.zeros(3)),
    "lacking": _npz(x_train=_IMAGES[:2]),
    "pickled": _npz(**_mnist_arrays(y_test=np.array([None] * 10))),
    "no label": _npz(**_mnist_arrays(y_test=np.zeros((10, 2), int))),
    "another size": _npz(**_mnist_arrays(x_test=_IMAGES[:10, :20])),
}


@pytest.mark.parametrize("data", BROKEN_NPZ.values(), ids=BROKEN_NPZ)
def test_a_broken_mnist_or_file_of_writers_is_named(tmp_path, data):
    (tmp_path / "mine.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"mine\.npz"):
        load_mnist(tmp_path / "mine.npz")
    with pytest.raises(InputError, match=r"mine\.npz"):
        with_mnist_writers(load_sklearn(), tmp_path / "mine.npz")


@pytest.mark.parametrize("change", [{"hsf_test": np.zeros(9, int)}, {"hsf_test": np.array(["a"] * 10)}])
def test_writers_that_do_not_fit_their_groups_are_refused(tmp_path, change):
    digits = load_sklearn().take(np.arange(20))
    whole = {f"{name}_{part}": np.zeros(10, int) for name in ("writer", "hsf") for part in ("train", "test")}
    np.savez(tmp_path / "writers.npz", **whole)
    assert len(with_mnist_writers(digits, tmp_path / "writers.npz")[1]) == 20
    np.savez(tmp_path / "writers.npz", **{**whole, **change})
    with pytest.raises(InputError, match=r"hsf_test|groups"):
        with_mnist_writers(digits, tmp_path / "writers.npz")


@pytest.mark.parametrize("kind", ["empty", "cut", "v7.3", "another"])
def test_a_broken_matlab_file_is_named(tmp_path, kind):
    new = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(400)
    data = {"empty": b"", "cut": _matlab()[:-500], "v7.3": new, "another": _npy(np.zeros(3))}[kind]
    (tmp_path / "emnist-digits.mat").write_bytes(data)
    with pytest.raises(InputError, match=r"emnist-digits\.mat is not a Matlab file of EMNIST"):
        load_emnist(tmp_path / "emnist-digits.mat", "digits")


@pytest.mark.parametrize("kind", ["member", "cut", "damaged", "empty"])
def test_a_broken_archive_of_emnist_is_named(tmp_path, kind):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for part, (what, array) in itertools.product(("train", "test"), _FILES.items()):
            write_idx(tmp_path / "loose.gz", array)
            cut = -20 if kind == "member" and (part, array.ndim) == ("test", 3) else None
            name = f"gzip/emnist-digits-{part}-{what}-ubyte.gz"
            archive.writestr(name, (tmp_path / "loose.gz").read_bytes()[:cut])
    whole = buffer.getvalue()
    data = {"member": whole, "cut": whole[:-100], "damaged": _flipped(whole), "empty": b""}[kind]
    (tmp_path / "gzip.zip").write_bytes(data)
    with pytest.raises(InputError, match=r"gzip\.zip" + (".*test-images" if kind == "member" else "")):
        load_emnist(tmp_path / "gzip.zip", "digits")
