"""Experiments on age, end to end on a few synthetic pages: the report, the model, and the second start."""

import importlib
import json
from pathlib import Path

import pandas as pd
import pytest

from age_keras import cli
from age_keras.data.synthetic.cohort import synthesize

TINY = [
    "--backbones", "resnet10", "--model.weights", "none", "--pages.image-size", "32", "--pages.patch-size", "400",
    "--pages.stride", "400", "--training.batch-size", "16", "--training.views", "1",
    "--training.frozen.epochs", "1", "--training.fine-tune.epochs", "1", "--training.fine-tune.warmup", "0", "--bands",
    "15",
]  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "cohort"
    synthesize(folder, writers=16, seed=1, progress=False)
    return folder


def start(name: str, folder: Path, runs: Path, *flags: str) -> Path:
    """Runs an experiment as a user does, and gives its run's folder."""
    module = importlib.import_module(f"experiments.{name}")
    arguments = ["--data", str(folder), "--runs", str(runs), "--run", "one", *TINY, *flags]
    assert cli.run_experiment(module.get_config, module.experiment, arguments) == 0
    return next(runs.glob(f"{name}/one"))


@pytest.fixture(scope="module")
def demo(cohort, tmp_path_factory):
    return start("demo", cohort, tmp_path_factory.mktemp("runs"))


def test_a_run_leaves_all_that_the_design_names(demo):
    for name in ("config.json", "environment.json", "history.csv", "predictions.csv", "metrics.json", "report.md"):
        assert (demo / name).stat().st_size > 0
    assert (demo / "checkpoints" / "resnet10.keras").exists()
    assert len(list((demo / "figures").glob("*.png"))) >= 4
    for part in ("train", "validation"):
        assert list((demo / "tensorboard" / "resnet10" / part).glob("events*"))
    assert not list(demo.glob("state/*.npz"))


def test_the_report_opens_with_the_verdict_and_says_synthetic(demo):
    lines = (demo / "report.md").read_text().splitlines()
    assert "resnet10" in lines[0]
    assert "constant" in lines[0]
    title = next(line for line in lines if line.startswith("# "))
    assert "synthetic" in title.lower()
    metrics = json.loads((demo / "metrics.json").read_text())
    assert {"models", "baselines", "bands", "checks", "verdict"} <= set(metrics)


def test_scored_writers_were_never_seen(demo, cohort):
    split = pd.read_csv(demo / "train_labels.csv", dtype={"Writer": str})
    assert split.groupby("Writer")["Split"].nunique().max() == 1
    predictions = pd.read_csv(demo / "predictions.csv", dtype={"Writer": str})
    scored = predictions[predictions["Split"] == "test"]
    assert set(scored["ImageID"]) == set(split.loc[split["Split"] == "test", "ImageID"])


def test_the_second_start_trains_nothing_and_writes_the_report_again(demo, cohort):
    before = (demo / "checkpoints" / "resnet10.keras").stat().st_mtime_ns
    (demo / "report.md").unlink()
    start("demo", cohort, demo.parents[1])
    assert (demo / "report.md").exists()
    assert (demo / "checkpoints" / "resnet10.keras").stat().st_mtime_ns == before


def test_another_configuration_under_the_same_name_is_refused(demo, cohort, capsys):
    module = importlib.import_module("experiments.demo")
    arguments = ["--data", str(cohort), "--runs", str(demo.parents[1]), "--run", "one", *TINY, "--seed", "5"]
    assert cli.run_experiment(module.get_config, module.experiment, arguments) == 2
    assert "seed: 0 -> 5" in capsys.readouterr().err


def test_predict_says_of_a_page_what_the_run_said(demo, cohort, capsys):
    predictions = pd.read_csv(demo / "predictions.csv")
    row = predictions[predictions["Split"] == "test"].iloc[0]
    page = cohort / row["ImageID"]
    assert cli.main(["predict", str(demo / "checkpoints" / "resnet10.keras"), str(page), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["synthetic"] is True
    assert answer["pages"][0]["age"] == pytest.approx(row["Prediction"], rel=1e-4)
    assert answer["pages"][0]["patches"] > 0


def test_predict_names_what_is_wrong(demo, tmp_path, capsys):
    model = str(demo / "checkpoints" / "resnet10.keras")
    assert cli.main(["predict", model, str(tmp_path / "none.png")]) == 2
    assert "none.png" in capsys.readouterr().err
    assert cli.main(["predict", str(tmp_path / "no.keras"), str(tmp_path)]) == 2
    assert "no.keras" in capsys.readouterr().err
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    assert cli.main(["predict", model, str(tmp_path / "broken.png")]) == 2
    assert "broken.png\terror:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--backbones", "resnet51"], "did you mean"),
        (["--source", "moon"], "no column of sources"),
        (["--model.weights", "missing.weights.h5", "--backbones", "resnet10"], "missing.weights.h5"),
    ],
)
def test_bad_input_stops_a_run_with_one_sentence(cohort, tmp_path, capsys, flags, message):
    module = importlib.import_module("experiments.demo")
    arguments = ["--data", str(cohort), "--runs", str(tmp_path), *TINY, *flags]
    assert cli.run_experiment(module.get_config, module.experiment, arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.slow
def test_cross_validation_scores_every_page_once_with_folds_beside_each_other(cohort, tmp_path):
    run = start("cross_validation", cohort, tmp_path, "--folds.count", "2")
    predictions = pd.read_csv(run / "predictions.csv", dtype={"Writer": str})
    scored = predictions[predictions["Split"] == "oof"]
    assert scored["ImageID"].is_unique
    assert set(scored["ImageID"]) == set(pd.read_csv(run / "train_labels.csv")["ImageID"])
    assert sorted(p.name for p in (run / "tensorboard").iterdir()) == ["resnet10-fold1", "resnet10-fold2"]
    assert "±" in (run / "report.md").read_text()


@pytest.mark.slow
def test_the_published_protocol_says_that_it_chose_on_the_scored_pages(cohort, tmp_path):
    run = start("published_protocol", cohort, tmp_path, "--folds.count", "2", "--training.views", "inf")
    assert "chosen on the pages that are scored" in (run / "report.md").read_text()


@pytest.mark.slow
def test_expanded_dataset_scores_the_same_pages_with_and_without_the_extra_set(cohort, tmp_path):
    extra = tmp_path / "extra"
    synthesize(extra, writers=8, seed=2, progress=False)
    run = start("expanded_dataset", cohort, tmp_path / "runs", "--extra", str(extra), "--extra-writers", "other")
    predictions = pd.read_csv(run / "predictions.csv")
    scored = predictions[predictions["Split"] == "test"]
    pages = scored.groupby("Model")["ImageID"].agg(sorted)
    assert list(pages.index) == ["resnet10", "resnet10-extra"]
    assert pages.iloc[0] == pages.iloc[1]


@pytest.mark.slow
def test_vit_variants_reports_stability(cohort, tmp_path):
    run = start("vit_variants", cohort, tmp_path)
    text = (run / "report.md").read_text()
    assert "Stability of fine-tuning" in text
    assert (run / "figures" / "stability.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("baseline_cnn", []),
        ("vit", ["--backbones", "mobilevit_xxs", "--pages.image-size", "64"]),
        ("vit_cross_validation", ["--folds.count", "2"]),
    ],
)
def test_an_experiment_reports_its_model_beside_the_constant(name, flags, cohort, tmp_path):
    run = start(name, cohort, tmp_path, *flags)
    assert "constant" in (run / "report.md").read_text().splitlines()[0]
    assert pd.read_csv(run / "predictions.csv")["Prediction"].between(0, 120).all()


@pytest.mark.slow
def test_heads_are_compared_on_the_same_pages(cohort, tmp_path):
    run = start("heads", cohort, tmp_path, "--folds.count", "2", "--variants", "mae", "dldl", "c_mixup")
    predictions = pd.read_csv(run / "predictions.csv")
    scored = predictions[predictions["Split"] == "oof"].groupby("Model")["ImageID"].agg(sorted)
    assert [name.split("-")[-1] for name in scored.index] == ["c_mixup", "dldl", "mae"]
    assert scored.iloc[0] == scored.iloc[1] == scored.iloc[2]
