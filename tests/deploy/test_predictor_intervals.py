"""A saved model's interval for a single page, from the calibration that its file keeps."""

import json

import keras
import numpy as np
import pytest
from PIL import Image

from age_keras.cli import main
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.config.serialization import to_dict
from age_keras.conformal.quantile import hierarchical_quantile
from age_keras.deploy.predictor import Predictor
from age_keras.models.age import build_age_model
from age_keras.run.bundle import save_bundle

SETTINGS = PageSettings(shorter_side=64, patch_size=32, stride=32, image_size=32)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("pages") / "page.png"
    Image.fromarray(np.where(rng.random((96, 64)) < 0.3, 20, 250).astype(np.uint8)).save(path)
    return path


def calibration(writers, bounds=False):
    rng = np.random.default_rng(1)
    who = np.repeat(np.arange(writers), 2)
    truth = rng.uniform(8, 60, len(who))
    said = truth + rng.normal(0, 4, len(who))
    facts = {"Writer": [f"w{w}" for w in who], "TrueAge": list(truth), "Prediction": list(said)}
    if bounds:
        facts |= {"Lower": list(truth - 1.0), "Upper": list(truth + 1.0)}
    return facts


def bundle(folder, head, facts):
    config = ModelConfig(weights="none", head=head)
    model = build_age_model("resnet10", config, 32, median=20.0, deviation=8.0)
    path = folder / f"{head}.keras"
    save_bundle(path, model.predictor, {"kind": "age", "pages": to_dict(SETTINGS), "calibration": facts})
    return path


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    return bundle(tmp_path_factory.mktemp("regression"), "regression", calibration(40))


def test_interval_is_the_calibrations_quantile(regression, page):
    predictor = Predictor(regression)
    for coverage in (0.5, 0.9):
        answer = predictor.predict([page], coverage)[0]
        facts = predictor.facts["calibration"]
        errors = np.abs(np.subtract(facts["TrueAge"], facts["Prediction"]))
        reach = hierarchical_quantile(errors, np.array(facts["Writer"]), coverage)
        assert answer.coverage == coverage
        assert answer.lower == pytest.approx(max(answer.age - reach, 0), abs=1e-4)
        assert answer.upper == pytest.approx(answer.age + reach, abs=1e-4)


def test_command_prints_the_interval(regression, page, capsys):
    assert main(["predict", str(regression), str(page), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)["pages"][0]
    assert answer["lower"] < answer["age"] < answer["upper"]
    assert answer["coverage"] == 0.9
    assert main(["predict", str(regression), str(page), "--coverage", "0.8"]) == 0
    assert "80%" in capsys.readouterr().out


def test_quantile_head_is_conformalised(tmp_path, page):
    path = bundle(tmp_path, "quantile", calibration(40, bounds=True))
    answer = Predictor(path).predict([page])[0]
    raw = Predictor(path).predict_patches(np.full((1, 32, 32, 1), 128, np.uint8))
    assert raw.shape == (1, 3)
    assert answer.lower <= answer.age <= answer.upper


def test_no_calibration_no_interval(page, tmp_path):
    path = bundle(tmp_path, "regression", {})
    answer = Predictor(path).predict([page])[0]
    assert answer.age is not None
    assert (answer.lower, answer.upper, answer.coverage) == (None, None, None)


def test_too_few_writers_give_all_ages(page, tmp_path):
    path = bundle(tmp_path, "regression", calibration(5))
    answer = Predictor(path).predict([page])[0]
    assert (answer.lower, answer.upper) == (0, 120)


@pytest.fixture(autouse=True)
def _clear():
    yield
    keras.backend.clear_session()
