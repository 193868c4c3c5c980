"""A run's report: the verdict first, everything that was there, and nothing that was not."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from age_keras.bands import BAND_EDGES
from age_keras.config.age import CrossValidationConfig, FoldsConfig
from age_keras.config.serialization import to_dict
from age_keras.errors import InputError
from age_keras.evaluation.evaluate import evaluate
from age_keras.evaluation.report.figures import error_by_band, predicted_vs_true
from age_keras.evaluation.report.write import write_report
from age_keras.predictions.intervals import add_intervals
from age_keras.predictions.table import read_predictions, write_predictions


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    n = 60
    ages = rng.integers(8, 80, n).astype(float)
    table = pd.DataFrame({"ImageID": [f"p{i}.png" for i in range(n)], "TrueAge": ages, "Writer": np.arange(n) // 2})
    table["Sex"] = rng.choice(list("FM"), n)
    frames = [
        table.assign(Model=m, Prediction=ages + rng.normal(0, s, n), Fold=np.arange(n) // 2 % 3 + 1, Split="oof")
        for m, s in (("one", 3), ("two", 6))
    ]
    folder = tmp_path / "run"
    write_predictions(folder / "predictions.csv", pd.concat(frames))
    return folder


def images(folder):
    """Pages on disk, one of them broken."""
    folder.mkdir()
    for i in range(60):
        Image.fromarray(np.full((80, 60), 255 - i, np.uint8)).save(folder / f"p{i}.png")
    (folder / "p3.png").write_bytes(b"broken")
    return lambda image_id: folder / image_id


def test_predictions_alone_are_enough(run):
    path = write_report(run, "A run", bands=BAND_EDGES)
    text = path.read_text(encoding="utf-8")
    assert path == run / "report.md"
    assert text.splitlines()[0].startswith("one, the best of 2 models, estimates the age of 30 writers")
    assert "\n# A run\n" in text
    assert "constant" in text
    assert "## Training" not in text
    assert "## Pages" not in text
    document = json.loads((run / "metrics.json").read_text())
    assert set(document["models"]["one"]["MAE"]) == {"mean", "sd"}
    for figure in ("predicted_vs_true", "error_by_band", "error_distribution"):
        assert f"figures/{figure}.png" in text
        with Image.open(run / "figures" / f"{figure}.png") as picture:
            assert picture.width > 500


def test_everything_that_a_run_leaves(run, tmp_path):
    config = to_dict(CrossValidationConfig(folds=FoldsConfig(selection="published")))
    (run / "config.json").write_text(json.dumps(config))
    environment = {
        "command": "python -m experiments.demo",
        "packages": {"keras": "3.15.1"},
        "data_fingerprint": "abc",
        "skipped": [["bad.png", "cannot be decoded"]],
        "synthetic": True,
    }
    (run / "environment.json").write_text(json.dumps(environment))
    history = pd.DataFrame(
        {"model": "one", "fold": 1, "phase": ["frozen"] * 3 + ["fine_tune"] * 2, "epoch": [1, 2, 3, 1, 2]}
    )
    history.assign(mae=[9, 8, 7, 6, 5.0], val_mae=[9, 8, 8, 7, np.nan]).to_csv(run / "history.csv", index=False)
    text = write_report(run, "Demo", bands=BAND_EDGES, images=images(tmp_path / "pages"), notes=["Read me."]).read_text(
        encoding="utf-8"
    )
    first, title = text.splitlines()[0], next(line for line in text.splitlines() if line.startswith("# "))
    assert first.startswith("On synthetic pages, one, the best of 2 models")
    assert "synthetic" in title
    for part in (
        "AK002",
        "AK012",
        "AK016",
        "python -m experiments.demo",
        "keras 3.15.1",
        "`abc`",
        "bad.png: cannot",
        "Read me.",
    ):
        assert part in text, part
    for figure in ("learning_curves", "pages"):
        assert (run / "figures" / f"{figure}.png").is_file()


def test_pages_that_are_gone_do_not_stop_the_report(run):
    text = write_report(run, "A run", bands=BAND_EDGES, images=lambda image_id: None).read_text(encoding="utf-8")
    assert "## Pages" not in text


def test_training_labels_give_the_constants(run):
    frame = pd.read_csv(run / "predictions.csv").assign(Split="test", Fold=0)
    write_predictions(run / "predictions.csv", frame)
    labels = pd.DataFrame({"ImageID": ["a", "b", "c"], "Age": [10.0, 20, 30], "Writer": ["x", "y", "z"]})
    write_report(run, "A run", bands=BAND_EDGES, train_labels=labels)
    document = json.loads((run / "metrics.json").read_text())
    assert document["baselines"]["writer_median"]["years"] == 20
    labels.assign(Age=[11.0, 21, 31]).to_csv(run / "train_labels.csv", index=False)
    write_report(run, "A run", bands=BAND_EDGES)
    assert json.loads((run / "metrics.json").read_text())["baselines"]["writer_median"]["years"] == 21


def test_many_models_and_one_page_a_band(tmp_path):
    rng = np.random.default_rng(1)
    ages = np.array([10.0, 20, 30, 60] * 5)
    base = pd.DataFrame(
        {"ImageID": [f"p{i}" for i in range(20)], "TrueAge": ages, "Fold": 0, "Writer": range(20), "Split": "test"}
    )
    frames = [base.assign(Model=f"model_{m}", Prediction=ages + rng.normal(0, 5, 20)) for m in range(9)]
    write_predictions(tmp_path / "predictions.csv", pd.concat(frames))
    text = write_report(tmp_path, "Nine", bands=BAND_EDGES).read_text(encoding="utf-8")
    assert "The best 6 of 9 models are shown." in text


def test_a_folder_without_predictions(tmp_path):
    with pytest.raises(InputError, match=r"no predictions\.csv"):
        write_report(tmp_path, "A run", bands=BAND_EDGES)


def test_intervals_of_a_run_with_validation_rows(run):
    frame = pd.read_csv(run / "predictions.csv", dtype={"Writer": str})
    held_out = frame.assign(Split="val", ImageID="v" + frame.ImageID, Writer="v" + frame.Writer)
    write_predictions(run / "predictions.csv", add_intervals(pd.concat([frame, held_out], ignore_index=True)))
    text = write_report(run, "A run", bands=BAND_EDGES).read_text(encoding="utf-8")
    section = text[text.index("## Prediction intervals") :]
    assert "| one " in section
    assert "true age" in section
    assert "figures/intervals.png" in section
    document = json.loads((run / "metrics.json").read_text())
    everyone = document["prediction_intervals"]["one"][0]
    assert everyone["group"] == "all"
    assert 0 < everyone["writer_coverage"] <= 100


def test_bounds_that_no_page_has_are_not_reported(run):
    frame = pd.read_csv(run / "predictions.csv").assign(Lower=np.nan, Upper=np.nan)
    write_predictions(run / "predictions.csv", frame)
    assert "## Prediction intervals" not in write_report(run, "A run", bands=BAND_EDGES).read_text(encoding="utf-8")


def test_age_bands_are_the_runs_own(run):
    (run / "config.json").write_text(json.dumps({"bands": [30]}))
    text = write_report(run, "A run").read_text(encoding="utf-8")
    assert "≤30 (" in text
    assert ">30 (" in text
    assert "16–25" not in text


def test_figures_and_tables_have_the_bands_that_are_given(run):
    result = evaluate(read_predictions(run), edges=(30, 50), resamples=100)
    panel = predicted_vs_true(result).axes[0]
    assert [line.get_xdata()[0] for line in panel.lines if len(set(line.get_xdata())) == 1] == [30.5, 50.5]
    ticks = [tick.get_text().splitlines()[0] for tick in error_by_band(result).axes[0].get_xticklabels()]
    assert ticks == [band for band in result.bands if band != "macro"] == ["≤30", "31–50", ">50"]
    crossed = {group["group"] for group in result.groups if group["attribute"] == "Sex × Age band"}
    assert crossed == {f"{sex}, {band}" for sex in "FM" for band in ticks}


def test_bands_are_given_or_recorded_never_guessed(run):
    with pytest.raises(InputError, match=r"config\.json has no `bands`"):
        write_report(run, "A run")
