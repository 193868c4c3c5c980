"""`age-keras compare`: what it prints, how it matches pages, what it refuses, and the figure."""

import json

import numpy as np
import pandas as pd
import pytest

from age_keras.cli import main
from age_keras.evaluation.comparison.comparison import compare_files
from age_keras.evaluation.comparison.critical_difference import groups_not_differing


@pytest.fixture
def pages():
    rng = np.random.default_rng(0)
    writers = np.repeat(np.arange(40), 2)
    ages = rng.integers(8, 70, 40)[writers].astype(float)
    frame = pd.DataFrame({"ImageID": [f"p{i}.png" for i in range(80)], "TrueAge": ages, "Writer": writers})
    frame["Fold"] = writers % 4 + 1
    return frame


@pytest.fixture
def files(tmp_path, pages):
    """Two files whose model has the same name, the second with its rows in another order and no folds."""
    rng, paths = np.random.default_rng(1), []
    for name, sd in (("good", 2), ("poor", 9)):
        frame = pages.assign(Model="net", Prediction=pages.TrueAge + rng.normal(0, sd, 80))
        if name == "poor":
            frame = frame.drop(columns=["Fold", "Writer"]).sample(frac=1, random_state=0)
        path = tmp_path / f"{name}.csv"
        frame.to_csv(path, index=False)
        paths.append(path)
    return paths


def run(capsys, *argv):
    code = main(["compare", *map(str, argv), "--resamples", "500"])
    out, err = capsys.readouterr()
    return code, out, err


def test_files_with_one_model_name_are_told_apart_and_matched_by_page(capsys, files):
    code, out, _ = run(capsys, *files, "--format", "json")
    result = json.loads(out)
    assert code == 0
    assert set(result["models"]) == {"good: net", "poor: net", result["constant"]}
    assert (result["pages"], result["writers"], result["left_out"]) == (80, 40, 0)
    assert not result["constant_in_hindsight"]
    pair = next(p for p in result["pairs"] if p["a"] == "good: net" and p["b"] == "poor: net")
    assert pair["differ"]
    assert -8 < pair["interval"][0] < pair["difference"] < pair["interval"][1] < 0
    assert pair["p"] <= pair["p_holm"] < 0.05


def test_markdown_opens_with_what_was_found(capsys, files):
    code, out, _ = run(capsys, *files)
    assert code == 0
    assert out.startswith("Over 40 writers, ")
    assert "shown to be better than the constant" in out.splitlines()[0]
    assert "| Pair" in out


def test_csv_has_a_row_for_each_pair(capsys, files, tmp_path):
    code, out, _ = run(capsys, *files, "--format", "csv", "--by", "page")
    (tmp_path / "out.csv").write_text(out)
    table = pd.read_csv(tmp_path / "out.csv")
    assert code == 0
    assert len(table) == 3
    assert {"A", "B", "Difference", "Lower", "Upper", "p", "p_Holm", "Better"} <= set(table)
    np.testing.assert_allclose(table.Difference, table.Score_A - table.Score_B, rtol=1e-4)


def test_reference_constant(capsys, files):
    result = json.loads(run(capsys, *files, "--reference", "constant", "--format", "json")[1])
    assert result["reference"] == result["constant"]
    assert {p["b"] for p in result["pairs"]} == {result["constant"]}


def test_runs_are_named_by_their_folders_and_give_their_training_labels(capsys, files, tmp_path):
    rng = np.random.default_rng(3)
    for name, file in zip(("one", "two"), files, strict=True):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        pd.read_csv(file).drop(columns="Fold", errors="ignore").to_csv(folder / "predictions.csv", index=False)
    labels = pd.DataFrame({"ImageID": [f"t{i}" for i in range(30)], "Age": rng.integers(20, 22, 30), "Split": "train"})
    labels.assign(Writer=labels.ImageID).to_csv(tmp_path / "runs" / "two" / "train_labels.csv", index=False)
    result = json.loads(run(capsys, tmp_path / "runs/one", tmp_path / "runs/two", "--format", "json")[1])
    assert {"one: net", "two: net"} <= set(result["models"])
    assert not result["constant_in_hindsight"]
    assert result["constant"].startswith("constant 2")
    same = json.loads(run(capsys, files[0], files[0], "--format", "json")[1])
    assert {"good (1): net", "good (2): net"} <= set(same["models"])


def test_same_seed_same_answer(capsys, files):
    one, two = (run(capsys, *files, "--seed", "3")[1] for _ in range(2))
    assert one == two
    assert one != run(capsys, *files, "--seed", "4")[1]


@pytest.mark.parametrize("options", [(), ("--reference", "constant")])
def test_figure(capsys, files, tmp_path, options):
    path = tmp_path / "figures" / "differences.png"
    assert run(capsys, *files, "--figure", path, *options)[0] == 0
    assert path.read_bytes().startswith(b"\x89PNG")


def test_pages_that_one_model_lacks_are_left_out_and_counted(capsys, files):
    frame = pd.read_csv(files[0])
    frame.iloc[10:].to_csv(files[0], index=False)
    result = json.loads(run(capsys, *files, "--format", "json")[1])
    assert (result["pages"], result["left_out"]) == (70, 10)


def test_repeated_cross_validation_is_matched_by_fold(tmp_path, pages):
    rng = np.random.default_rng(2)
    frames = []
    for repeat in (0, 4):
        for model, sd in (("a", 2), ("b", 5)):
            noise = rng.normal(0, sd, 80)
            frames.append(pages.assign(Model=model, Prediction=pages.TrueAge + noise, Fold=pages.Fold + repeat))
    path = tmp_path / "repeated.csv"
    pd.concat(frames).to_csv(path, index=False)
    result = compare_files([path], resamples=200)
    assert (result.pages, result.writers) == (160, 40)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "PREDICTIONS"),
        (["missing.csv"], "missing.csv"),
        (["{good}", "--reference", "nobody"], "nobody"),
        (["{good}", "{other}"], "no page in common"),
        (["{good}", "--split", "val"], "val"),
    ],
)
def test_bad_input_is_one_sentence(capsys, files, tmp_path, argv, words):
    other = tmp_path / "other.csv"
    pd.DataFrame({"ImageID": ["x", "y"], "TrueAge": [1, 2], "Prediction": [1, 2]}).to_csv(other, index=False)
    code, _, err = run(capsys, *(a.format(good=files[0], other=other) for a in argv))
    assert code == 2
    assert words.lower() in err.lower()
    assert "Traceback" not in err


def test_too_few_resamples(capsys, files):
    assert main(["compare", str(files[0]), "--resamples", "10"]) == 2
    assert "--resamples" in capsys.readouterr().err


def test_largest_sets_that_do_not_differ():
    differ = {frozenset(pair) for pair in [(0, 2), (0, 3), (1, 3)]}
    assert groups_not_differing(range(4), differ) == [[0, 1], [1, 2], [2, 3]]
    assert groups_not_differing(range(3), set()) == [[0, 1, 2]]
    assert groups_not_differing(range(2), {frozenset((0, 1))}) == []
