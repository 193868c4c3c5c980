"""`age-keras digits predict`: the digit, its probability, the set, and "unsure" where it should."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from age_keras import cli
from age_keras.characters.config import RecogniserConfig
from age_keras.characters.model.recogniser import build_recogniser
from age_keras.characters.model.saving import save_recogniser
from age_keras.run.bundle import save_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("model") / "m.keras"
    network = build_recogniser(
        RecogniserConfig(stem=4, stages=((4,), (6,)), units=8, heads=2, normalise=False), classes=("alef", "bet")
    )
    network.get_layer("probabilities").calibrate(temperature=1, set_threshold=0.2, abstain_below=0.9)
    save_recogniser(path, network, "letters")
    return path


@pytest.fixture
def picture(tmp_path):
    page = np.full((80, 60), 240, np.uint8)
    page[20:60, 25:32] = 10
    Image.fromarray(page).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_json_has_every_field(model, picture, capsys):
    assert cli.main(["digits", "predict", str(model), str(picture), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["images"][0]
    assert found["digit"] in ("alef", "bet")
    assert 0.5 <= found["probability"] <= 1
    assert found["digit"] == found["set"][0]
    assert found["unsure"] == (found["probability"] < 0.9)
    assert found["error"] is None


def test_one_line_an_image_and_unsure_is_said(model, picture, capsys):
    assert cli.main(["digits", "predict", str(model), str(picture), str(picture)]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 2
    assert "unsure" in lines[0]
    assert "one of" in lines[0]


def test_a_broken_image_is_told_and_the_others_are_read(model, picture, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert cli.main(["digits", "predict", str(model), str(tmp_path / "bad.png"), str(picture)]) == 2
    lines = capsys.readouterr().out.strip().splitlines()
    assert "bad.png" in lines[0]
    assert "error" in lines[0]
    assert "%" in lines[1]


def test_what_is_no_recogniser_is_said_without_a_traceback(tmp_path, picture, capsys):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "other.keras")
    save_bundle(tmp_path / "age.keras", keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), {"kind": "age"})
    for path in (tmp_path / "none.keras", tmp_path / "other.keras", tmp_path / "age.keras", picture):
        assert cli.main(["digits", "predict", str(path), str(picture)]) == 2
        assert path.name in capsys.readouterr().err
