"""Two hosts on loopback train what one trains."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from multi_host_script import build, data

from age_keras.config.age import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.data.table.samples import Samples
from age_keras.errors import InputError
from age_keras.training.distributed import multi_host
from age_keras.training.distributed.devices import allotment
from age_keras.training.distributed.multi_host import train_hosted, train_on_hosts
from age_keras.training.feeds import PatchData
from age_keras.training.protocol import Part, train
from age_keras.training.study import Study
from tuning.cluster.supervisor import free_port

SCRIPT = Path(__file__).parents[2] / "support" / "multi_host_script.py"
ENVIRONMENT = {"PYTHONPATH": str(SCRIPT.parents[2]), "CUDA_VISIBLE_DEVICES": "-1"}


@pytest.mark.slow
def test_two_hosts_equal_one(tmp_path):
    hosts = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"]
    environment = os.environ | allotment(0, 2, []) | ENVIRONMENT
    team = [
        subprocess.Popen([sys.executable, str(SCRIPT), str(i), str(tmp_path / f"{i}.npz"), *hosts], env=environment)
        for i in range(2)
    ]
    try:
        assert [process.wait(timeout=240) for process in team] == [0, 0]
    finally:
        for process in team:
            process.kill()
    one = train_on_hosts(build, *data(), ["127.0.0.1:1"], 0, epochs=3, batch_size=8).get_weights()
    for host in range(2):
        with np.load(tmp_path / f"{host}.npz") as file:
            for expected, name in zip(one, file.files, strict=True):
                np.testing.assert_allclose(file[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_host_with_two_devices_equals_one(tmp_path):
    environment = os.environ | {"LOGICAL_DEVICES": "2", "CUDA_VISIBLE_DEVICES": "-1"}
    environment["PYTHONPATH"] = str(SCRIPT.parents[2])
    command = [sys.executable, str(SCRIPT), "0", str(tmp_path / "two.npz"), "127.0.0.1:1"]
    subprocess.run(command, env=environment, timeout=240, check=True)
    one = train_on_hosts(build, *data(), ["127.0.0.1:1"], 0, epochs=3, batch_size=8).get_weights()
    with np.load(tmp_path / "two.npz") as file:
        for expected, name in zip(one, file.files, strict=True):
            np.testing.assert_allclose(file[name], expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def study(inked_pages):
    table, store = inked_pages(24, 2)
    config = AgeConfig(
        backbones=("resnet10",),
        model=ModelConfig(weights="none", batch_norm="inference", dropout=0.3),
        training=TrainingConfig(
            frozen=PhaseConfig(4, 0.5, plateau_patience=1, stop_patience=2),
            fine_tune=PhaseConfig(3, 1e-2, 0.5, schedule="cosine", warmup=1, layer_decay=0.5, clip_norm=1.0),
            batch_size=16,
        ),
        runtime=RuntimeConfig(prefix_cache=False),
    )
    data = PatchData(store, table["Age"].to_numpy(np.float32)[store.page][:, None])
    return Study(config, None, Samples(None, table), data, False)


ROWS = np.arange(24)
PART = Part("", ROWS < 16, (ROWS >= 16) & (ROWS < 20), ROWS >= 20)


def hosted(study, state):
    return train_hosted(study, PART, tf.distribute.get_strategy(), ["127.0.0.1:1"], 0, state)


def test_a_host_alone_trains_what_every_experiment_trains(study, tmp_path):
    """Views, order, schedules, layer decay, clipping and early stopping mean the same."""
    expected = train(study.config, study.data, study.table, PART, progress=False)
    trained = hosted(study, tmp_path / "state.npz")
    columns = ["phase", "epoch", "loss", "val_mae", "learning_rate"]
    pd.testing.assert_frame_equal(
        trained.history[columns].reset_index(drop=True), expected.history[columns].reset_index(drop=True), rtol=1e-3
    )
    assert trained.history["learning_rate"].nunique() > 3
    np.testing.assert_allclose(trained.pages["Prediction"], expected.pages["Prediction"], rtol=1e-3)
    assert trained.notes == expected.notes != []


def test_a_killed_host_resumes_and_ends_the_same(study, tmp_path, monkeypatch):
    whole = hosted(study, tmp_path / "whole.npz")
    save, saved = multi_host.save_state, []

    def killed(*state):
        save(*state)
        saved.append(1)
        if len(saved) in (2, len(whole.history)):
            raise KeyboardInterrupt

    monkeypatch.setattr(multi_host, "save_state", killed)
    for _ in range(2):  # In the first phase, and after the last epoch.
        with pytest.raises(KeyboardInterrupt):
            hosted(study, tmp_path / "state.npz")
    again = hosted(study, tmp_path / "state.npz")
    assert len(saved) == len(whole.history)
    pd.testing.assert_frame_equal(again.history, whole.history)
    pd.testing.assert_frame_equal(again.pages, whole.pages)


COMMAND = (
    *("--synthetic-writers", "16", "--backbones", "resnet10", "--model.weights", "none", "--bands", "25"),
    *(
        "--pages.image-size",
        "32",
        "--training.frozen.epochs",
        "2",
        "--training.fine-tune.epochs",
        "1",
        "--training.views",
    ),
    *("2", "--training.batch-size", "16", "--runtime.no-tensorboard", "--model.dropout", "0", "--run", "one"),
)


def hosts_of_the_command(runs, count, *flags):
    hosts = [f"127.0.0.1:{free_port()}" for _ in range(count)]
    environment = os.environ | allotment(0, 2, []) | ENVIRONMENT
    command = [sys.executable, "-m", "experiments.multi_host", *COMMAND, *flags, "--runs", str(runs), "--hosts", *hosts]
    team = [subprocess.Popen([*command, "--index", str(i)], env=environment) for i in range(count)]
    try:
        assert [process.wait(timeout=400) for process in team] == [0] * count
    finally:
        for process in team:
            process.kill()
    return pd.read_csv(runs / "multi_host" / "one" / "predictions.csv")


@pytest.mark.slow
def test_the_command_on_two_hosts_gives_what_it_gives_on_one(tmp_path):
    one, two = hosts_of_the_command(tmp_path / "one", 1), hosts_of_the_command(tmp_path / "two", 2)
    pd.testing.assert_frame_equal(one, two, rtol=1e-3)
    report = tmp_path / "two" / "multi_host" / "one" / "report.md"
    assert report.stat().st_size > 1000


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="cannot be shared by 2 hosts"):
        train_on_hosts(build, *data(), ["a:1", "b:1"], 0, epochs=1, batch_size=7)
    with pytest.raises(InputError, match="do not fill a batch"):
        train_on_hosts(build, *data(), ["a:1"], 0, epochs=1, batch_size=64)
    four = SimpleNamespace(num_replicas_in_sync=4)
    with pytest.raises(InputError, match="cannot be shared by 4 GPUs, 2 a host: give a multiple of 4"):
        train_on_hosts(build, *data(), ["a:1", "b:1"], 0, epochs=1, batch_size=6, strategy=four)
