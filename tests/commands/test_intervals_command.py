"""`age-keras intervals`: files in, bounds out, coverage on the screen, and what it refuses."""

import json

import numpy as np
import pandas as pd
import pytest

from age_keras.cli import main
from age_keras.conformal.quantile import hierarchical_quantile
from age_keras.predictions.table import read_predictions


def table(rng, prefix, writers=60, folds=0):
    who = np.repeat(np.arange(writers), rng.integers(1, 4, writers))
    age = rng.uniform(8, 60, writers)[who]
    frame = pd.DataFrame({"ImageID": [f"{prefix}{i}.png" for i in range(len(who))], "TrueAge": age})
    frame["Writer"] = [f"{prefix}{w}" for w in who]
    if folds:
        frame["Fold"] = who % folds + 1
    return frame.assign(Model="net", Prediction=age + rng.normal(0, 4, writers)[who] + rng.normal(0, 1, len(who)))


@pytest.fixture
def files(tmp_path):
    rng, paths = np.random.default_rng(0), []
    for name in ("val", "test"):
        frame = table(rng, name)
        frame["Lower"], frame["Upper"] = frame.Prediction - 2, frame.Prediction + 3
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        paths.append(tmp_path / f"{name}.csv")
    return paths


def run(capsys, *argv):
    code = main(["intervals", *map(str, argv)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize("method", ["split", "mondrian", "cqr"])
def test_two_tables(capsys, files, tmp_path, method):
    out_file = tmp_path / "out" / "bounded.csv"
    code, out, _ = run(capsys, *files, "--method", method, "--out", out_file, "--coverage", 0.8)
    assert code == 0
    assert "80% of new writers" in out.splitlines()[0]
    assert "true age ≤15" in out
    bounded = read_predictions(out_file)
    assert ((bounded.Lower <= bounded.Prediction) & (bounded.Prediction <= bounded.Upper)).all()
    assert (bounded.Lower >= 0).all()
    assert (bounded.Upper <= 120).all()


def test_mondrian_widths_and_tables_are_of_the_bands_that_are_given(capsys, tmp_path):
    rng = np.random.default_rng(4)
    for name in ("val", "test"):  # Predicted 9, 12 and 20 years, with errors of 0.1, 3 and 6.
        said, error = np.repeat([9.0, 12.0, 20.0], 40), np.repeat([0.1, 3.0, 6.0], 40) * rng.choice([-1, 1], 120)
        names = [f"{name}{i}" for i in range(120)]
        rows = pd.DataFrame({"ImageID": names, "TrueAge": said + error, "Prediction": said, "Writer": names})
        rows.assign(Model="net").to_csv(tmp_path / f"{name}.csv", index=False)
    asked = (tmp_path / "val.csv", tmp_path / "test.csv", "--method", "mondrian", "--bands", 10, 12, "--format", "json")
    _, out, _ = run(capsys, *asked)
    rows = [row for row in json.loads(out)["models"]["net"] if row["group"] == "predicted age"]
    assert [row["band"] for row in rows] == ["≤10", "11–12", ">12"]
    assert [row["width"] for row in rows] == pytest.approx([0.2, 6, 12])


def test_bands_are_those_of_the_run_that_calibrates(capsys, files, tmp_path):
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    files[0].rename(run_folder / "predictions.csv")
    (run_folder / "config.json").write_text('{"bands": [20, 30]}')
    pd.read_csv(files[1]).assign(Model="net").to_csv(files[1], index=False)
    code, out, err = run(capsys, run_folder, files[1])
    assert code == 0, err
    assert "21–30" in out
    assert "26–50" not in out


def test_json(capsys, files):
    code, out, _ = run(capsys, *files, "--format", "json", "--method", "split")
    document = json.loads(out)
    row = document["models"]["net"][0]
    assert code == 0
    assert row["group"] == "all"
    assert 75 < row["writer_coverage"] <= 100
    assert row["width"] > 0


def test_out_of_fold_alone_and_figure(capsys, tmp_path):
    path, figure = tmp_path / "oof.csv", tmp_path / "calibration.png"
    table(np.random.default_rng(1), "p", 90, folds=3).to_csv(path, index=False)
    code, out, _ = run(capsys, path, "--figure", figure)
    assert code == 0
    assert "| net" in out
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_cv_plus_on_test_pages_of_every_fold(capsys, tmp_path):
    rng = np.random.default_rng(2)
    calibration, fresh = table(rng, "c", 90, folds=3), table(rng, "t", 40)
    calibration.to_csv(tmp_path / "oof.csv", index=False)
    votes = [fresh.assign(Fold=f, Prediction=fresh.Prediction + rng.normal(0, 1, len(fresh))) for f in (1, 2, 3)]
    pd.concat(votes).to_csv(tmp_path / "test.csv", index=False)
    out_file = tmp_path / "out.csv"
    code, _, _ = run(capsys, tmp_path / "oof.csv", tmp_path / "test.csv", "--method", "cross", "--out", out_file)
    bounded = pd.read_csv(out_file)
    assert code == 0
    assert len(bounded) == len(fresh)
    assert ((bounded.Lower <= bounded.TrueAge) & (bounded.TrueAge <= bounded.Upper)).mean() > 0.75
    fresh.to_csv(tmp_path / "test.csv", index=False)
    assert run(capsys, tmp_path / "oof.csv", tmp_path / "test.csv", "--method", "cross", "--out", out_file)[0] == 0
    errors = (calibration.TrueAge - calibration.Prediction).abs().to_numpy()
    reach = hierarchical_quantile(errors, calibration.Writer.to_numpy(str), 0.9)
    around = pd.read_csv(out_file)
    np.testing.assert_allclose(around.Upper, around.Prediction + reach, rtol=1e-6)
    pd.concat(votes[:2]).to_csv(tmp_path / "test.csv", index=False)
    code, _, err = run(capsys, tmp_path / "oof.csv", tmp_path / "test.csv", "--method", "cross")
    assert code == 2
    assert "CV+" in err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["{val}", "{val}"], "in both"),
        (["{val}"], "without folds"),
        (["{val}", "{test}", "--coverage", "90"], "`--coverage` must be a number in (0, 1)"),
        (["{val}", "{other}"], "no predictions of other"),
        (["{other}", "{otherval}", "--method", "cqr"], "quantile head"),
        (["{val}", "{test}", "--method", "cross"], "two folds"),
        (["missing.csv", "{test}"], "missing.csv"),
    ],
)
def test_bad_input_is_one_sentence(capsys, files, tmp_path, argv, words):
    rng = np.random.default_rng(3)
    for name in ("other", "otherval"):
        table(rng, name).assign(Model="other").to_csv(tmp_path / f"{name}.csv", index=False)
    names = {"val": files[0], "test": files[1]} | {n: tmp_path / f"{n}.csv" for n in ("other", "otherval")}
    code, _, err = run(capsys, *(a.format(**names) for a in argv))
    assert code == 2
    assert words in err
    assert "Traceback" not in err
