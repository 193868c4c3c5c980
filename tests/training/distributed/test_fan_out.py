"""Folds and backbones over processes give what one process gives, and a dead process loses nothing."""

import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from age_keras.config.age import CrossValidationConfig, FoldsConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.errors import InputError
from age_keras.training.crossval import fold_parts
from age_keras.training.distributed import fan_out as module
from age_keras.training.distributed.fan_out import fan_out
from age_keras.training.study import open_study
from age_keras.training.train_all import train_all


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
            frozen=PhaseConfig(epochs=1, learning_rate=1e-2),
            fine_tune=PhaseConfig(epochs=1, learning_rate=1e-3, unfreeze=0.1),
            batched_heads=True,
            augment="none",
        ),
        runtime=RuntimeConfig(tensorboard=False),
        folds=FoldsConfig(count=2, selection_fraction=0.3),
        bands=(),
        runs=tmp_path / "runs",
    )
    return open_study(config, "cv")


def with_workers(study, workers):
    config = replace(study.config, runtime=replace(study.config.runtime, workers=workers))
    return replace(study, config=config)


@pytest.mark.slow
def test_two_processes_train_what_one_would(study):
    parts = fold_parts(study)
    together = train_all(with_workers(study, 2), parts, progress=False)
    assert set(together["ImageID"][together["Split"] == "oof"]) == set(study.table["ImageID"])
    before = {path: path.stat().st_mtime for path in study.run.path.glob("state/*.csv")}
    again = train_all(with_workers(study, 2), parts, progress=False)
    pd.testing.assert_frame_equal(together.reset_index(drop=True), again.reset_index(drop=True))
    assert before == {path: path.stat().st_mtime for path in study.run.path.glob("state/*.csv")}
    shutil.rmtree(study.run.path / "state")
    serial = train_all(study, parts, progress=False)
    pd.testing.assert_frame_equal(together.reset_index(drop=True), serial.reset_index(drop=True), rtol=1e-5)


@pytest.mark.slow
def test_ray_trains_what_one_process_would(study, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    parts = fold_parts(study)
    try:
        fan_out(study, [("resnet10", part) for part in parts], parts, backend="ray", progress=False)
    finally:
        ray.shutdown()
    spread = train_all(study, parts, progress=False)
    shutil.rmtree(study.run.path / "state")
    serial = train_all(study, parts, progress=False)
    pd.testing.assert_frame_equal(spread.reset_index(drop=True), serial.reset_index(drop=True), rtol=1e-5)


def _die(config, run, backbone, part, parts):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_that_keeps_dying_is_an_error_that_says_what_to_do(study, monkeypatch):
    monkeypatch.setattr(module, "_train_one", _die)
    with pytest.raises(InputError, match="use fewer workers"):
        train_all(with_workers(study, 2), fold_parts(study), progress=False)


def test_the_number_of_workers_does_not_name_the_run(study):
    config = with_workers(study, 3).config
    assert open_study(config, "cv").run.path == study.run.path


def test_without_ray_the_error_names_the_extra(study, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -e .*ray"):
        fan_out(study, [("resnet10", part) for part in fold_parts(study)], [], backend="ray", progress=False)
