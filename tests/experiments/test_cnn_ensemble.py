"""The ensemble experiment end to end on a few synthetic pages, and what it refuses."""

import importlib

import pandas as pd
import pytest

from age_keras import cli
from age_keras.data.synthetic.cohort import synthesize

TINY = [
    "--model.weights", "none", "--pages.image-size", "32", "--pages.patch-size", "400", "--pages.stride", "400",
    "--training.batch-size", "16", "--training.views", "1", "--training.frozen.epochs", "1",
    "--training.fine-tune.epochs", "0", "--bands", "15", "--runtime.no-tensorboard",
]  # fmt: skip


def start(folder, runs, *backbones):
    module = importlib.import_module("experiments.cnn_ensemble")
    arguments = ["--data", str(folder), "--runs", str(runs), "--run", "one", *TINY, "--backbones", *backbones]
    return cli.run_experiment(module.get_config, module.experiment, arguments)


def test_one_backbone_is_refused_before_any_training(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("file,age\na.png,30\n", encoding="utf-8")
    assert start(tmp_path, tmp_path / "runs", "resnet10") == 2
    assert "two backbones" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_members_and_ensemble_stand_in_one_report(tmp_path):
    synthesize(tmp_path / "pages", writers=16, seed=1, progress=False)
    assert start(tmp_path / "pages", tmp_path / "runs", "resnet10", "mobilenetv3_small") == 0
    run = tmp_path / "runs" / "cnn_ensemble" / "one"
    predictions = pd.read_csv(run / "predictions.csv")
    scored = predictions[predictions.Split == "test"]
    assert scored.Model.nunique() == 3
    assert scored.groupby("Model").ImageID.nunique().nunique() == 1
    assert scored.Lower.notna().all()
    report = (run / "report.md").read_text()
    assert "The ensemble was chosen and learnt from" in report
    assert "## Prediction intervals" in report
