"""Folds and backbones over processes give what one process gives, and a dead process loses nothing."""

import os
import signal

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from age_keras.data.pages import PageSettings
from age_keras.errors import InputError
from age_keras.models.age import ModelConfig
from age_keras.training import fan_out as module
from age_keras.training.age_config import PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.training.crossval import CrossValidationConfig, FoldsConfig, fold_parts
from age_keras.training.fan_out import fan_out
from age_keras.training.study import open_study


@pytest.fixture
def study(tmp_path):
    """Ten writers with a page each, ten shades of ink."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(10):
        ink = rng.random((70, 70)) < 0.1 + i / 30
        Image.fromarray(np.where(ink, 30, 250).astype(np.uint8)).save(tmp_path / f"p{i}.png")
        rows.append({"ImageID": f"p{i}.png", "Age": 10 + 5 * i, "Writer": f"w{i}"})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    config = CrossValidationConfig(
        data=tmp_path,
        backbones=("resnet10",),
        model=ModelConfig(weights="none"),
        pages=PageSettings(shorter_side=64, patch_size=32, stride=32, image_size=32, blank="none"),
        training=TrainingConfig(
            head=PhaseConfig(epochs=1, learning_rate=1e-2),
            fine_tune=PhaseConfig(epochs=0, learning_rate=1e-3),
            augment="none",
            selection_share=0.3,
        ),
        runtime=RuntimeConfig(tensorboard=False),
        folds=FoldsConfig(count=2),
        bands=(),
        runs=tmp_path / "runs",
    )
    return open_study(config, "cv")


@pytest.mark.slow
def test_two_processes_train_what_one_would(study):
    parts = fold_parts(study)
    together = fan_out(study, "cv", parts, workers=2, backend="processes", progress=False)
    assert set(together["ImageID"][together["Split"] == "oof"]) == set(study.table["ImageID"])
    before = {path: path.stat().st_mtime for path in study.run.path.glob("state/*.csv")}
    again = fan_out(study, "cv", parts, workers=2, progress=False)
    pd.testing.assert_frame_equal(together.reset_index(drop=True), again.reset_index(drop=True))
    assert before == {path: path.stat().st_mtime for path in study.run.path.glob("state/*.csv")}


def _die(study, backbone, part):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_that_keeps_dying_is_an_error_that_says_what_to_do(study, monkeypatch):
    monkeypatch.setattr(module, "_train_one", _die)
    with pytest.raises(InputError, match="give fewer workers"):
        fan_out(study, "cv", fold_parts(study), workers=1, backend="processes", progress=False)


def test_without_ray_the_error_names_the_extra(study, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"age_keras\[ray\]"):
        fan_out(study, "cv", fold_parts(study), backend="ray", progress=False)
