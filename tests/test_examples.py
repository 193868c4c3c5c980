"""Every example in a docstring runs and prints what it says, in a folder that has the files the examples name."""

import doctest
import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from age_keras.characters.config import RecogniserConfig
from age_keras.characters.model.recogniser import build_recogniser
from age_keras.characters.model.saving import save_recogniser
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.config.serialization import to_dict
from age_keras.models.age import build_age_model
from age_keras.run.bundle import save_bundle

ROOT = Path(__file__).resolve().parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ("age_keras", "tuning")
    for path in sorted((ROOT / room).rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A page, a folder of labelled pages, an age model and a recogniser, all tiny, under the names of the examples."""
    folder = tmp_path_factory.mktemp("examples")
    data = folder / "data" / "hhd_age"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = ["page1.tif", "page2.tif"]
    for path in (folder / "page.tif", folder / "seven.png", *(data / name for name in names)):
        Image.fromarray(np.where(rng.random((96, 64)) < 0.3, 20, 250).astype(np.uint8)).save(path)
    pd.DataFrame({"file": names, "age": [9, 41], "writer": ["a", "b"]}).to_csv(data / "labels.csv", index=False)
    settings = PageSettings(shorter_side=64, patch_size=32, stride=32, image_size=32)
    model = build_age_model("resnet10", ModelConfig(weights="none"), 32, median=20.0)
    checkpoints = folder / "runs" / "demo" / "1a2b3c4d" / "checkpoints"
    checkpoints.mkdir(parents=True)
    facts = {"kind": "age", "name": "resnet10", "pages": to_dict(settings)}
    save_bundle(checkpoints / "resnet10.keras", model.predictor, facts)
    checkpoints = folder / "runs" / "digits_mnist" / "usual" / "checkpoints"
    checkpoints.mkdir(parents=True)
    small = RecogniserConfig(stem=4, stages=((4,), (6,)), units=8, heads=2, normalise=False)
    save_recogniser(checkpoints / "seed0.keras", build_recogniser(small), "mnist")
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name, files, monkeypatch):
    monkeypatch.chdir(files)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)):
        runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)
    assert runner.tries
