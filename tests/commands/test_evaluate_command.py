"""`age-keras evaluate`: what it prints, what it refuses, and how little it imports."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from age_keras.cli import main
from age_keras.evaluation.metrics import METRICS


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    ages = rng.integers(8, 70, 60)
    frame = pd.DataFrame({"ImageID": [f"p{i}.png" for i in range(60)], "TrueAge": ages, "Fold": np.arange(60) % 3 + 1})
    frame["good"] = ages + rng.normal(0, 3, 60)
    frame["flat"] = 30 + rng.normal(0, 0.1, 60)
    path = tmp_path / "predictions_of_two.csv"
    frame.to_csv(path, index=False)
    return path


def run(capsys, *argv):
    code = main(["evaluate", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_markdown_opens_with_the_verdict(capsys, table):
    code, out, _ = run(capsys, table)
    assert code == 0
    first = out.splitlines()[0]
    assert first.startswith("good, the best of 2 models, estimates the age")
    assert first.endswith(".")
    assert "## Checks" in out
    assert "AK004" in out


def test_json_has_the_published_names_and_is_strict(capsys, table):
    code, out, _ = run(capsys, table, "--format", "json")
    document = strict(out)
    assert code == 0
    assert list(document["models"]) == ["good", "flat"]
    assert tuple(document["models"]["good"]) == METRICS
    assert {"baselines", "bands", "checks", "verdict", "intervals", "skill"} <= set(document)
    low, high = document["intervals"]["good"]["MAE"]
    assert low < document["models"]["good"]["MAE"] < high
    assert document["skill"]["good"] > 0.5
    best = document["baselines"][document["best_baseline"]]
    assert document["skill"]["good"] == pytest.approx(1 - document["models"]["good"]["MAE"] / best["MAE"])
    bands = document["bands"]["good"]
    assert list(bands) == ["≤15", "16–25", "26–50", ">50", "macro"]
    assert bands["macro"]["MAE"] == pytest.approx(np.mean([bands[b]["MAE"] for b in list(bands)[:4]]))


def test_by_fold_gives_mean_and_sd_and_the_pooled_figures(capsys, table):
    frame = pd.read_csv(table)
    folds = frame.groupby("Fold").apply(lambda g: (g.good - g.TrueAge).abs().mean())
    for ddof in (1, 0):
        document = strict(run(capsys, table, "--by", "fold", "--format", "json", "--ddof", ddof)[1])
        mae = document["models"]["good"]["MAE"]
        assert mae == {"mean": pytest.approx(folds.mean()), "sd": pytest.approx(folds.std(ddof=ddof))}
    assert document["pooled"]["good"]["MAE"] == pytest.approx((frame.good - frame.TrueAge).abs().mean())


def test_csv_latex_and_a_file(capsys, table, tmp_path):
    out = run(capsys, table, "--format", "csv", "--by", "fold", "--out", tmp_path / "x" / "t.csv")
    assert out[:2] == (0, "")
    read = pd.read_csv(tmp_path / "x" / "t.csv").set_index("Model")
    assert read.index[:2].tolist() == ["good", "flat"]
    assert {"MAE_mean", "MAE_std", "Acc_10yr_std"} <= set(read)
    latex = run(capsys, table, "--format", "latex")[1]
    assert latex.startswith("\\begin{tabular}")
    assert latex.count("\\\\\n") == 1 + 2 + 4


def test_model_and_split(capsys, table):
    document = strict(run(capsys, table, "--format", "json", "--model", "flat", "--split", "oof")[1])
    assert list(document["models"]) == ["flat"]


def test_training_labels(capsys, table, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("File,Age,WriterNumber,Set\na,10,1,Train\nb,20,2,train\nc,90,3,test\n", encoding="utf-8")
    frame = pd.read_csv(table).drop(columns="Fold")
    frame.to_csv(table, index=False)
    document = strict(run(capsys, table, "--train", labels, "--format", "json")[1])
    assert document["baselines"]["writer_median"]["years"] == 15


def test_fairness_and_coverage_where_the_columns_are(capsys, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"ImageID": [f"p{i}" for i in range(80)], "TrueAge": rng.uniform(8, 60, 80), "Model": "m"})
    frame["Prediction"] = frame.TrueAge + rng.normal(0, 2, 80)
    frame["Lower"], frame["Upper"] = frame.Prediction - 2, frame.Prediction + 2
    frame["Sex"], frame["Hand"] = rng.choice(list("FM"), 80), ["L"] * 5 + ["R"] * 75
    frame.to_csv(tmp_path / "p.csv", index=False)
    document = strict(run(capsys, tmp_path / "p.csv", "--format", "json")[1])
    groups = {(g["attribute"], g["group"]): g for g in document["fairness"]["m"]}
    women = frame[frame.Sex == "F"]
    f = groups["Sex", "F"]
    assert f["n"] == len(women)
    assert f["MAE"] == pytest.approx((women.Prediction - women.TrueAge).abs().mean())
    inside = ((women.Lower <= women.TrueAge) & (women.TrueAge <= women.Upper)).mean()
    assert f["Coverage"] == pytest.approx(100 * inside)
    assert f["MAE_interval"][0] < f["MAE"] < f["MAE_interval"][1]
    assert groups["Hand", "L"]["few_writers"]
    assert ("Sex × Age band", "F, ≤15") in groups
    assert 60 < document["coverage"]["m"]["percent"] < 80
    assert any(check["code"] == "AK015" for check in document["checks"])


def test_one_writer_has_no_interval_but_valid_json(capsys, tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("ImageID,TrueAge,Prediction,Writer\na,20,21,w\nb,20,22,w\n", encoding="utf-8")
    document = strict(run(capsys, path, "--format", "json")[1])
    assert document["models"]["p"]["R2"] is None
    assert document["intervals"]["p"]["MAE"] == [None, None]
    assert run(capsys, path)[0] == 0


BAD = {
    "There is no file": lambda d: [d / "none.csv"],
    "no column TrueAge": lambda d: [_written(d, "ImageID,Prediction\na,1\n")],
    "TrueAge must be a number; data row 1 (page a) has no value": lambda d: [
        _written(d, "ImageID,TrueAge,Prediction\na,,1\n")
    ],
    "Prediction must be a number; data row 1 (page a) has 'x'": lambda d: [
        _written(d, "ImageID,TrueAge,Prediction\na,1,x\n")
    ],
    "has no rows": lambda d: [_written(d, "")],
    "There is one page to score": lambda d: [_written(d, "ImageID,TrueAge,Prediction\na,1,1\n")],
    "give a csv, tsv, xlsx or parquet": lambda d: [_written(d, "x", "p.docx")],
    "--by fold needs a column Fold": lambda d: [
        _written(d, "ImageID,TrueAge,Prediction\na,1,1\nb,2,2\n"),
        "--by",
        "fold",
    ],
    "no column TrueAge (age, ": lambda d: [
        _written(d, "ImageID,TrueAge,Prediction\na,1,1\nb,2,2\n"),
        "--train",
        _written(d, "File,Years\na,1\n", "l.csv"),
    ],
    "`--resamples` must be a whole number of at least 100": lambda d: ["p.csv", "--resamples", "5"],
}


def _written(folder, text, name="p.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(capsys, tmp_path, message):
    code, out, err = run(capsys, *BAD[message](tmp_path))
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_unknown_format_exits_with_2(capsys, table):
    assert run(capsys, table, "--format", "html")[0] == 2


def test_nothing_heavy_is_imported(table):
    code = (
        "import sys; from age_keras.cli import main; assert main(['evaluate', sys.argv[1]]) == 0; "
        "heavy = {'tensorflow', 'keras', 'sklearn', 'matplotlib', 'scipy', 'cv2'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(table)], check=True, stdout=subprocess.DEVNULL, timeout=120)


def test_official_split_says_the_constant_first(capsys, shared_data):
    split = shared_data / "published/cnn_split_test.csv"
    first = run(capsys, split, "--train", shared_data / "hhd/labels.csv")[1].splitlines()[0]
    assert first.startswith(
        "A constant of 15 years (MAE 2.65) beats every model; the best of 5, EfficientNetV2M, has MAE"
    )
    first = run(capsys, split)[1].splitlines()[0]
    assert first.startswith(
        "A constant of 15 years (MAE 2.65), the median of the scored pages chosen in hindsight, beats"
    )


def test_published_cross_validation_by_the_command(capsys, shared_data):
    """The csv equals the published table, figure by figure."""
    _, out, _ = run(capsys, shared_data / "published/cnn_cv_oof.csv", "--by", "fold", "--format", "csv")
    got = pd.read_csv(pd.io.common.StringIO(out)).set_index("Model")
    want = pd.read_csv(shared_data / "published/expected_cnn_cv.csv").set_index("Model")
    pd.testing.assert_frame_equal(got.loc[want.index, want.columns], want)


def test_age_bands_can_be_chosen(capsys, table):
    code, out, _ = run(capsys, table, "--bands", 20, 40, "--format", "json")
    assert code == 0
    assert set(strict(out)["bands"]["good"]) == {"≤20", "21–40", ">40", "macro"}
    code, out, err = run(capsys, table, "--bands", 40, 20)
    assert (code, out) == (2, "")
    assert "Received: 40 20." in err
