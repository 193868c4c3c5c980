"""The experiment shows the best and the worst pages of each age band, with files a reader can open."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from age_keras.cli import run_experiment
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.config.serialization import to_dict
from age_keras.files import write_json
from age_keras.models.age import build_age_model
from age_keras.predictions.table import write_predictions
from age_keras.run.bundle import save_bundle
from experiments.grad_cam import experiment, get_config
from experiments.grad_cam_report import best_and_worst

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = PageSettings(image_size=None, shorter_side=64, patch_size=32, stride=32)


def predictions(ages, answers, writers):
    return pd.DataFrame(
        {
            "ImageID": [f"{i}.png" for i in range(len(ages))],
            "TrueAge": ages,
            "Prediction": answers,
            "Model": "resnet10",
            "Fold": 0,
            "Writer": writers,
            "Split": "test",
        }
    )


def test_best_and_worst_of_each_band_one_page_a_writer():
    ages = [10.0, 11, 12, 13, 14, 30, 60, 61]
    rows = predictions(ages, [10, 11.5, 12.7, 20, 30, 20, 60, 40], list("aabcddef"))
    chosen = best_and_worst(rows, 2, (15, 25, 50))
    assert chosen.ImageID.is_unique
    first = chosen[chosen.band == 0]
    assert first[first["rank"] == "best"].ImageID.tolist() == ["0.png", "2.png"]
    assert first[first["rank"] == "worst"].ImageID.tolist() == ["4.png", "3.png"]
    assert chosen[chosen.band == 2].ImageID.tolist() == ["5.png"]
    assert chosen[chosen.band == 3]["rank"].tolist() == ["best", "worst"]


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "pages").mkdir()
    ages = [9.0, 12, 18, 22, 40, 60]
    for i in range(len(ages)):
        page = np.full((96, 64), 240, np.uint8)
        for _ in range(15):
            x, y = rng.integers(4, 50, 2)
            cv2.line(page, (x, y), (x + 9, y + int(rng.integers(9))), 20, 2)
        Image.fromarray(page).save(tmp_path / "pages" / f"{i}.png")
    run = tmp_path / "run"
    write_predictions(run / "predictions.csv", predictions(ages, [20.0] * 6, [str(i) for i in range(6)]))
    write_json(run / "config.json", {"bands": [15, 25, 50]})
    write_json(run / "environment.json", {"data_folder": str(tmp_path / "pages")})
    built = build_age_model("resnet10", ModelConfig(weights="none"), 32, 1, median=20.0)
    head = built.predictor.get_layer("head_output").kernel
    head.assign(rng.normal(size=head.shape))
    facts = {"kind": "age", "name": "resnet10", "pages": to_dict(SETTINGS), "synthetic": True}
    save_bundle(run / "checkpoints" / "resnet10.keras", built.predictor, facts)
    return run


def test_writes_gallery_table_pictures_and_tensorboard(run, capsys):
    assert run_experiment(get_config, experiment, ["--run", str(run), "--pages", "1", "--patches", "3"]) == 0
    out = run / "grad_cam"
    report = (out / "report.md").read_text()
    assert report.startswith("6 pages explained by Grad-CAM of resnet10. Of 5 methods")
    assert "(synthetic pages)" in report
    for band in ("≤15", "16–25", "26–50", ">50"):
        assert f"| {band} " in report
    assert "Which maps deserve belief (3 patches)" in report
    assert len(list((out / "pages").glob("*.html"))) == len(list((out / "pages").glob("*.png"))) == 6
    with Image.open(out / "gallery.png") as picture:
        assert picture.width > 300
    assert list((run / "tensorboard" / "grad_cam").glob("events*"))
    assert "Report:" in capsys.readouterr().out


def test_an_unknown_model_is_refused_before_keras_loads(tmp_path):
    write_predictions(tmp_path / "predictions.csv", predictions([9.0, 40.0], [20.0, 20.0], ["a", "b"]))
    code = f"""
import sys
from age_keras.cli import run_experiment
from experiments.grad_cam import experiment, get_config
code = run_experiment(get_config, experiment, ["--run", {str(tmp_path)!r}, "--model", "typo"])
print(code, [m for m in ("tensorflow", "keras") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "2 []"
    assert "has no model 'typo': it has resnet10." in done.stderr


def test_refuses_what_is_no_run(tmp_path, capsys):
    assert run_experiment(get_config, experiment, []) == 2
    assert run_experiment(get_config, experiment, ["--run", str(tmp_path)]) == 2
    assert "predictions.csv" in capsys.readouterr().err
