"""`age-keras cache` and `age-keras cache clear`."""

import json

import numpy as np
import pytest

from age_keras.cli import main
from age_keras.files import cache_dir
from age_keras.prefix.feature_files import FOLDER, FeatureFiles

BYTES = 10 * 4 * 7 * 7 * 3


def entry(name, **facts):
    """Ten rows of an entry."""
    files = FeatureFiles(cache_dir() / FOLDER)
    known = {"model": "resnet50", "view": 2, "seed": 0, "precision": "float32", "patch": [[224, 224, 1], "uint8"]}
    known |= {"computed_in": "bfloat16", "boundary": [[[7, 7, 2048], "float32"]], **facts}
    array = np.zeros(10, np.dtype([("0", np.float32, (7, 7, 3))]))
    errors = {"kept": 0.0, "computed": 0.00283}
    with files.lock(name):
        files.append(name, known, files.rows(name, array.dtype), np.arange(10, dtype=np.uint64), array, errors)


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """A cache folder with two entries of features, features of an older format, and a patch store."""
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path))
    entry("a")
    entry("b", model="densenet121", view=None, computed_in="float32")
    for name in ("features", "patches"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "store.npy").write_bytes(bytes(500))
    assert cache_dir() == tmp_path
    return tmp_path


def test_shows_every_entry_and_the_rest(filled, capsys):
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    for part in (
        str(filled),
        "resnet50",
        "augmented copy 2",
        "7x7x2048",
        "bfloat16 (error 0.3 %)",
        "densenet121",
        "as they are",
        "patches: 500 B",
    ):
        assert part in shown


def test_shows_json(filled, capsys):
    assert main(["cache", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["folder"] == str(filled)
    assert {row["model"]: row["bytes"] for row in shown["features"]} == {"resnet50": BYTES, "densenet121": BYTES}
    assert shown["others"] == {"features": 500, "patches": 500}


def test_clear_deletes_the_features_alone(filled, capsys):
    assert main(["cache", "clear"]) == 0
    assert [path.name for path in filled.iterdir()] == ["patches"]
    assert (filled / "patches" / "store.npy").exists()
    assert "freed" in capsys.readouterr().out


def test_clear_all_deletes_everything(filled):
    assert main(["cache", "clear", "--all"]) == 0
    assert not [path for path in filled.rglob("*") if path.is_file()]


def test_an_empty_cache_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path / "none"))
    assert main(["cache"]) == 0
    assert "Nothing is cached." in capsys.readouterr().out
    assert main(["cache", "clear", "--all"]) == 0


def test_an_entry_that_is_being_written_stays(filled, capsys):
    files = FeatureFiles(filled / FOLDER)
    with files.lock("a"):
        assert main(["cache", "clear"]) == 0
    assert [entry.name for entry in files.entries()] == ["a"]
    assert "1 entries are being written" in capsys.readouterr().out


def test_a_damaged_index_is_no_error(filled, capsys):
    (filled / FOLDER / "index.sqlite").write_bytes(bytes(range(256)) * 64)
    assert main(["cache"]) == 0
    assert "0 B of at most" in capsys.readouterr().out


def test_the_limit_can_be_set_and_is_shown(filled, capsys, monkeypatch):
    monkeypatch.setenv("AGE_KERAS_CACHE_GB", "45.5")
    assert main(["cache"]) == 0
    assert "of at most 45.5 GB" in capsys.readouterr().out
    monkeypatch.setenv("AGE_KERAS_CACHE_GB", "much")
    assert main(["cache"]) == 2
    assert "AGE_KERAS_CACHE_GB must be a number of GB" in capsys.readouterr().err
