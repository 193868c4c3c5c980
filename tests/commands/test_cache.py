"""`age-keras cache` and `age-keras cache clear`."""

import json

import pytest

from age_keras.cli import main
from age_keras.files import cache_dir


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """A cache folder with two entries of features, one of them unreadable, and a patch store."""
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path))
    facts = {"model": "resnet50", "view": 2, "seed": 0, "precision": "float32", "patch": [[224, 224, 1], "uint8"]}
    facts |= {"computed_in": "bfloat16", "errors": {"kept": 0.0, "computed": 0.00283}}
    for name, text in (("a", json.dumps({**facts, "shapes": [[7, 7, 2048]]})), ("b", "{broken")):
        folder = tmp_path / "features" / name
        folder.mkdir(parents=True)
        (folder / "entry.json").write_text(text)
        (folder / "0.bin").write_bytes(bytes(1000))
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "store.npy").write_bytes(bytes(500))
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
        "unreadable",
        "patches: 500 B",
    ):
        assert part in shown


def test_shows_json(filled, capsys):
    assert main(["cache", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["folder"] == str(filled)
    assert {row["model"]: row["bytes"] > 1000 for row in shown["features"]} == {"resnet50": True, "unreadable": True}
    assert shown["others"] == {"patches": 500}


def test_clear_deletes_the_features_alone(filled, capsys):
    assert main(["cache", "clear"]) == 0
    assert not list((filled / "features").glob("*/0.bin"))
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
    from filelock import FileLock

    with FileLock(filled / "features" / "a" / "lock"):
        assert main(["cache", "clear"]) == 0
    assert (filled / "features" / "a" / "0.bin").exists()
    assert "kept" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["null", "[]", '{"shapes": null}', '{"errors": null, "patch": 3}'])
def test_a_damaged_entry_is_shown_as_unreadable(filled, capsys, text):
    (filled / "features" / "a" / "entry.json").write_text(text)
    assert main(["cache"]) == 0
    assert capsys.readouterr().out.count("unreadable") == 2
    assert main(["cache", "--json"]) == 0


def test_the_limit_can_be_set_and_is_shown(filled, capsys, monkeypatch):
    monkeypatch.setenv("AGE_KERAS_CACHE_GB", "45.5")
    assert main(["cache"]) == 0
    assert "of at most 45.5 GB" in capsys.readouterr().out
    monkeypatch.setenv("AGE_KERAS_CACHE_GB", "much")
    assert main(["cache"]) == 2
    assert "AGE_KERAS_CACHE_GB must be a number of GB" in capsys.readouterr().err


def test_clear_deletes_what_a_killed_process_was_deleting(filled):
    (filled / "features" / "b").rename(filled / "features" / ".trash-1")
    assert main(["cache", "clear"]) == 0
    assert not (filled / "features" / ".trash-1").exists()
