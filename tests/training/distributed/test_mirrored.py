"""`--runtime.strategy mirrored` on two devices trains what it trains on one."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from age_keras.errors import InputError
from age_keras.training.feeds import _fullest

SCRIPT = Path(__file__).parents[2] / "support" / "mirrored_script.py"
FLAGS = (
    *("--synthetic-writers", "16", "--bands", "25", "--backbones", "resnet10", "--model.weights", "none"),
    *("--model.dropout", "0", "--model.batch-norm", "inference", "--pages.image-size", "32"),
    *("--training.frozen.epochs", "2", "--training.frozen.learning-rate", "0.1", "--training.fine-tune.epochs", "2"),
    *("--training.fine-tune.learning-rate", "0.01", "--training.fine-tune.unfreeze", "0.5"),
    *("--training.views", "2", "--training.batch-size", "16", "--runtime.strategy", "mirrored"),
    *("--runtime.no-tensorboard", "--run", "one"),
)


def trained(runs, devices):
    environment = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(SCRIPT), str(devices), *FLAGS, "--runs", str(runs)]
    subprocess.run(command, env=environment, check=True, timeout=400)
    run = runs / "baseline_cnn" / "one"
    return pd.read_csv(run / "predictions.csv"), pd.read_csv(run / "history.csv")


@pytest.mark.slow
def test_two_devices_train_what_one_trains(tmp_path):
    (one, of_one), (two, of_two) = (trained(tmp_path / str(count), count) for count in (1, 2))
    assert one["Prediction"].nunique() > 5
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)
    # An odd number of patches chooses the epoch: two devices leave one of them out.
    pd.testing.assert_series_equal(of_one["loss"], of_two["loss"], rtol=1e-5)


def test_the_batch_that_chooses_an_epoch_leaves_out_no_more_than_it_must():
    assert [_fullest(rows, 1) for rows in (5, 64, 66, 67)] == [5, 64, 33, 33]
    assert (_fullest(33, 2), _fullest(1000, 2), _fullest(7, 4)) == (32, 50, 4)
    with pytest.raises(InputError, match="3 patches cannot choose the epoch on 4 devices"):
        _fullest(3, 4)
