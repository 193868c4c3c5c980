"""Every set of characters, read from files written in its published format."""

import gzip
import io
import zipfile
from typing import get_args

import numpy as np
import pytest
from idx_files import write_idx

from age_keras.characters.config import EmnistSplit
from age_keras.characters.data.array_files import read_idx
from age_keras.characters.data.characters import Characters
from age_keras.characters.data.emnist import CLASSES, load_emnist
from age_keras.characters.data.sources import load_characters, load_mnist, load_sklearn, with_mnist_writers
from age_keras.characters.data.splits import split_parts, stratified_holdout, writer_folds, writer_holdout
from age_keras.errors import InputError


def _images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def test_sklearn_digits_need_no_file_and_every_class_is_in_both_parts():
    digits = load_sklearn()
    assert digits.images.shape == (1797, 28, 28)
    assert set(digits.part("test").labels) == set(digits.part("train").labels) == set(range(10))
    assert 0.19 < len(digits.part("test")) / len(digits) < 0.21
    assert load_sklearn().fingerprint == digits.fingerprint


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_gives_back_what_was_written(tmp_path, dtype, suffix):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    write_idx(tmp_path / f"a{suffix}", array)
    np.testing.assert_array_equal(read_idx(tmp_path / f"a{suffix}"), array)


def test_idx_has_the_published_header(tmp_path):
    write_idx(tmp_path / "labels", np.array([7, 2], np.uint8))
    assert (tmp_path / "labels").read_bytes() == bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 2])


@pytest.mark.parametrize("data", [b"", b"\0\0\x08", b"\0\0\x08\x01\0\0\0\x05ab", b"PK\x03\x04 zip", b"\x1f\x8bgarbage"])
def test_broken_idx_is_named(tmp_path, data):
    (tmp_path / "broken").write_bytes(data)
    with pytest.raises(InputError, match="broken"):
        read_idx(tmp_path / "broken")


@pytest.mark.parametrize(("dot", "suffix"), [("-", ""), ("-", ".gz"), (".", "")])
def test_mnist_from_idx_and_npz_is_the_same(tmp_path, dot, suffix):
    x, y = _images(30), np.arange(30, dtype=np.uint8) % 10
    for part, rows in (("train", slice(0, 20)), ("t10k", slice(20, 30))):
        write_idx(tmp_path / f"{part}-images{dot}idx3-ubyte{suffix}", x[rows])
        write_idx(tmp_path / f"{part}-labels{dot}idx1-ubyte{suffix}", y[rows])
    np.savez(tmp_path / "mnist.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    a, b = load_mnist(tmp_path), load_characters("mnist", tmp_path / "mnist.npz")
    assert a.fingerprint == b.fingerprint
    assert len(a.part("train")) == 20
    np.testing.assert_array_equal(a.part("test").images, x[20:])


def test_missing_sets_say_how_to_get_them(tmp_path):
    for name, hint in (
        ("mnist", "mnist.npz"),
        ("emnist-letters", "nist.gov"),
        ("folder", "<class>"),
        ("iam-words", "IAM"),
    ):
        with pytest.raises(InputError, match=hint):
            load_characters(name, tmp_path / "nothing")
    with pytest.raises(InputError, match="emnist-balanced"):
        load_characters("cifar")
    with pytest.raises(InputError, match="byclass"):
        load_characters("emnist-capitals", tmp_path)


def test_a_file_that_a_set_does_not_use_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"need no file.*path="):
        load_characters("digits", tmp_path)
    with pytest.raises(InputError, match=r"belongs to MNIST.*writers="):
        load_characters("digits", writers=tmp_path / "writers.npz")


def test_the_real_mnist_and_its_writers(shared_data):
    mnist = load_mnist(shared_data / "mnist.npz")
    mnist, hsf = with_mnist_writers(mnist, shared_data / "mnist_writers.npz")
    assert (len(mnist.part("train")), len(mnist.part("test"))) == (60_000, 10_000)
    assert not np.intersect1d(mnist.part("train").writers, mnist.part("test").writers).size
    assert set(hsf) == {0, 1, 4} or set(hsf) == {0, 4}


def _emnist_parts(split):
    first = 1 if split == "letters" else 0
    count = len(CLASSES[split])
    labels = np.arange(count, dtype=np.uint8) + first
    return {"train": (_images(count, 1), labels), "test": (_images(count, 2), labels[::-1].copy())}


def _write_emnist(folder, split, suffix=".gz"):
    for part, (images, labels) in _emnist_parts(split).items():
        write_idx(folder / f"emnist-{split}-{part}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"emnist-{split}-{part}-labels-idx1-ubyte{suffix}", labels)


@pytest.mark.parametrize("split", CLASSES)
def test_emnist_from_idx_is_upright_with_labels_from_zero(tmp_path, split):
    _write_emnist(tmp_path, split)
    found = load_emnist(tmp_path, split)
    parts = _emnist_parts(split)
    np.testing.assert_array_equal(found.part("train").images, parts["train"][0].transpose(0, 2, 1))
    assert found.classes == CLASSES[split]
    assert sorted(set(found.labels)) == list(range(len(CLASSES[split])))
    assert found.part("test").labels[0] == len(CLASSES[split]) - 1


def test_emnist_class_counts_are_the_published_ones():
    counts = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}
    assert {s: len(names) for s, names in CLASSES.items()} == counts == {s: counts[s] for s in get_args(EmnistSplit)}


def test_emnist_from_the_archive_in_a_folder_as_nist_packs_it(tmp_path):
    (tmp_path / "loose").mkdir()
    _write_emnist(tmp_path / "loose", "letters")
    with zipfile.ZipFile(tmp_path / "gzip.zip", "w") as archive:
        for file in sorted((tmp_path / "loose").iterdir()):
            archive.write(file, f"gzip/{file.name}")
    assert (
        load_emnist(tmp_path / "gzip.zip", "letters").fingerprint
        == load_emnist(tmp_path / "loose", "letters").fingerprint
    )
    with pytest.raises(InputError, match="balanced"):
        load_emnist(tmp_path / "gzip.zip", "balanced")


def _matlab_file(split):
    import scipy.io

    dataset = {}
    for part, (images, labels) in _emnist_parts(split).items():
        writers = np.arange(len(labels), dtype=np.uint16)[:, None]
        dataset[part] = {"images": images.reshape(-1, 784), "labels": labels[:, None], "writers": writers}
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"dataset": dataset})
    return buffer.getvalue()


def test_emnist_from_matlab_equals_idx_and_knows_writers(tmp_path):
    (tmp_path / "idx").mkdir()
    _write_emnist(tmp_path / "idx", "digits")
    with zipfile.ZipFile(tmp_path / "matlab.zip", "w") as archive:
        archive.writestr("matlab/emnist-digits.mat", _matlab_file("digits"))
    found = load_emnist(tmp_path / "matlab.zip", "digits")
    assert found.fingerprint == load_emnist(tmp_path / "idx", "digits").fingerprint
    assert list(found.part("test").writers) == list(range(10))


def test_a_matlab_file_of_another_split_is_refused(tmp_path):
    (tmp_path / "emnist-letters.mat").write_bytes(_matlab_file("letters"))
    assert load_emnist(tmp_path / "emnist-letters.mat", "letters").classes == CLASSES["letters"]
    with pytest.raises(InputError, match="split 'letters', not 'balanced'"):
        load_emnist(tmp_path / "emnist-letters.mat")
    (tmp_path / "emnist-letters.mat").rename(tmp_path / "mine.mat")
    assert load_emnist(tmp_path / "mine.mat", "letters").labels.max() == 25


def test_stratified_holdout_gives_every_class_its_share():
    labels = np.repeat(np.arange(5), [100, 50, 20, 20, 10])
    rest, held = stratified_holdout(labels, 0.1, seed=3)
    assert len(held) == 20
    assert not np.intersect1d(rest, held).size
    np.testing.assert_allclose(np.bincount(labels[held]), [10, 5, 2, 2, 1], atol=1)
    np.testing.assert_array_equal(stratified_holdout(labels, 0.1, seed=3)[1], held)


@pytest.mark.parametrize("hold_out", [stratified_holdout, writer_holdout])
def test_from_one_on_a_size_is_a_number_below_a_fraction(hold_out):
    rows = np.repeat(np.arange(20), 10)
    for size in (50, 50.0, 0.25):
        assert len(hold_out(rows, size)[1]) == 50
    for size in (0, -0.1, 200, 1e9, float("inf"), float("nan")):
        with pytest.raises(InputError, match="200 characters cannot be held out"):
            hold_out(rows, size)


def test_folds_keep_writers_apart_and_groups_in_proportion():
    writers = np.repeat(np.arange(50), 4)
    fold = writer_folds(writers, 5, groups=writers % 2)
    assert all(len(set(fold[writers == w])) == 1 for w in range(50))
    for k in range(5):
        assert np.unique(writers[fold == k]).size == 10
        assert (np.unique(writers[fold == k]) % 2).sum() == 5
    with pytest.raises(InputError, match="50 writers"):
        writer_folds(writers, 51)


def test_writer_holdout_keeps_writers_apart_and_groups_in_proportion():
    rng = np.random.default_rng(0)
    writers = rng.integers(0, 40, 1000)
    rest, held = writer_holdout(writers, 0.25, groups=writers % 2)
    assert not np.intersect1d(writers[rest], writers[held]).size
    assert np.bincount(np.unique(writers[held]) % 2).tolist() == [5, 5]


def test_where_the_class_is_the_writer_every_class_is_learnt_else_writers_are_apart():
    writers = np.repeat(np.arange(6), 20)
    images, split = _images(120), np.full(120, "train")
    by_writer = Characters(images, 5 - writers, tuple("abcdef"), split, writers)
    assert by_writer.labelled_by_writer
    parts = split_parts(by_writer, 0.2)
    assert all(set(part.labels) == set(range(6)) for part in parts.values())
    by_text = Characters(images, np.arange(120) % 6, tuple("abcdef"), split, writers)
    assert not by_text.labelled_by_writer
    found = [set(part.writers) for part in split_parts(by_text, 20.0).values()]
    assert sum(map(len, found)) == len(set().union(*found)) == 6
    for wrong, key in (({"validation": 120}, "`validation`"), ({"validation": 0.1, "limit": -1}, "`limit`")):
        with pytest.raises(InputError, match=key):
            split_parts(by_text, **wrong)
    groups = Characters(images, writers % 2, ("employee", "student"), split, writers)
    assert not groups.labelled_by_writer


def test_characters_that_do_not_fit_together_are_refused():
    with pytest.raises(InputError, match="differ in number"):
        Characters(_images(3), np.zeros(2, int), ("a",), np.full(3, "train"))
    with pytest.raises(InputError, match="outside"):
        Characters(_images(1), np.array([2]), ("a", "b"), np.full(1, "train"))


def test_gzipped_idx_is_known_by_its_content(tmp_path):
    write_idx(tmp_path / "a", np.zeros(3, np.uint8))
    (tmp_path / "b").write_bytes(gzip.compress((tmp_path / "a").read_bytes()))
    assert read_idx(tmp_path / "b").shape == (3,)
