"""`age-keras ensemble`: what it learns, on which rows, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest

from age_keras.cli import main
from age_keras.predictions.table import read_predictions


def run(capsys, *argv):
    code = main(["ensemble", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def files(tmp_path):
    """Validation and test predictions of three models of different quality and bias, two pages a writer."""
    paths = []
    for name, seed in (("val", 1), ("test", 2)):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"ImageID": [f"{name}{i}" for i in range(60)], "TrueAge": rng.uniform(8, 60, 60)})
        frame["Writer"] = [f"{name}{i // 2}" for i in range(60)]
        for model, bias, sd in (("a", 3, 4), ("b", -2, 6), ("c", 0, 8)):
            frame[model] = frame.TrueAge + bias + rng.normal(0, sd, 60)
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        paths.append(tmp_path / f"{name}.csv")
    return paths


def test_two_tables(capsys, files, tmp_path):
    out_file = tmp_path / "combined.csv"
    code, out, _ = run(capsys, *files, "--format", "json", "--out", out_file)
    document = json.loads(out)
    assert code == 0
    assert {row["method"] for row in document["ensembles"]} >= {"Grid Search", "MAE-based", "lad", "greedy", "median"}
    combined = read_predictions(out_file)
    assert len(combined) == 60
    got = np.abs(combined.Prediction - combined.TrueAge).mean()
    assert got == pytest.approx(document["chosen"]["MAE"])


def test_one_table_with_both_splits(capsys, files, tmp_path):
    two = json.loads(run(capsys, *files, "--format", "json")[1])
    both = pd.concat(pd.read_csv(path).assign(Split=path.stem) for path in files)
    both.to_csv(tmp_path / "predictions.csv", index=False)
    one = json.loads(run(capsys, tmp_path, "--format", "json")[1])
    assert one["chosen"] == two["chosen"]


def test_scored_ages_change_no_weight(capsys, files):
    """Ages of the scored pages are only scored with."""
    before = json.loads(run(capsys, *files, "--format", "json")[1])["ensembles"]
    frame = pd.read_csv(files[1])
    frame["TrueAge"] = frame.TrueAge.to_numpy()[::-1]
    frame.to_csv(files[1], index=False)
    after = json.loads(run(capsys, *files, "--format", "json")[1])["ensembles"]
    key = {(row["group"], row["method"], tuple(row["members"])): row["weights"] for row in before}
    assert {(row["group"], row["method"], tuple(row["members"])): row["weights"] for row in after} == key


def test_out_of_fold_ensemble_beats_the_plain_mean(capsys, shared_data):
    """Weights learnt without the scored fold's writers: under 4.51, the plain mean; the best single model has 4.67."""
    code, out, _ = run(capsys, shared_data / "published/cnn_cv_oof.csv", "--format", "json")
    rows = {row["method"]: row for row in json.loads(out)["ensembles"]}
    assert code == 0
    assert rows["chosen"]["pooled"]["MAE"] < 4.51
    assert rows["chosen"]["MAE"]["mean"] < rows["mean"]["MAE"]["mean"]
    assert round(rows["InceptionV3"]["MAE"]["mean"], 2) == 4.67


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["{val}", "{val}"], "in both tables"),
        (["{val}"], "folds"),
        (["{val}", "{test}", "--step", "0.3"], "--step"),
        (["{val}", "{test}", "--members", "a,nobody"], "nobody"),
        (["{val}", "{test}", "--members", "a"], "two members"),
        (["{val}", "{one}"], "lack the model"),
        (["{one}", "{test}"], "one model"),
        (["missing.csv", "{test}"], "missing.csv"),
    ],
)
def test_bad_input_is_one_sentence(capsys, files, tmp_path, argv, words):
    one = tmp_path / "one.csv"
    pd.read_csv(files[1]).drop(columns=["b", "c"]).assign(ImageID=lambda f: "x" + f.ImageID).to_csv(one, index=False)
    code, _, err = run(capsys, *(a.format(val=files[0], test=files[1], one=one) for a in argv))
    assert code == 2
    assert words in err
    assert "Traceback" not in err
