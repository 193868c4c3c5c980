"""The experiments of digits, small, through the command line's road: folders, reports, resuming, errors."""

import dataclasses
import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
from idx_files import write_idx

from age_keras.characters.config import RecogniserConfig, RecogniserTraining
from age_keras.characters.data.sources import load_sklearn
from age_keras.characters.data.splits import split_parts
from age_keras.characters.reader import Recogniser
from age_keras.cli import run_experiment
from age_keras.errors import InputError
from experiments import digits_ablation, digits_emnist, digits_mnist, digits_robust, digits_writers

TINY = RecogniserConfig(detail=(), stem=4, stages=((6,), (8,)), units=8, recurrence="none", heads=2, dropout=0.0)
QUICK = RecogniserTraining(epochs=1, batch_size=64, learning_rate=0.01)


def test_digits_from_the_command_line_end_in_a_report(tmp_path, capsys):
    config = dataclasses.replace(digits_mnist.get_config(), model=TINY, training=QUICK, seeds=(0, 1))
    argv = ["--runs", str(tmp_path), "--run", "a"]
    assert run_experiment(lambda: config, digits_mnist.experiment, argv) == 0
    assert "test images of digits right" in capsys.readouterr().out
    run = tmp_path / "digits_mnist" / "a"
    for name in ("config.json", "environment.json", "history.csv", "predictions.csv", "metrics.json", "report.md"):
        assert (run / name).is_file(), name
    pictures = {p.stem for p in (run / "figures").glob("*.png")}
    assert pictures == {"curves", "confusion", "reliability", "abstaining", "hardest"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["images"]["validation"] > 0
    assert set(metrics["single"]["seeds"]) == {"0", "1"}
    assert len(pd.read_csv(run / "predictions.csv")) == metrics["images"]["test"]
    reading = Recogniser(run / "checkpoints" / "seed0.keras").probabilities(load_sklearn().part("test").images)
    expected = pd.read_csv(run / "predictions.csv")["Probability"]
    np.testing.assert_allclose(reading.max(axis=1), expected, atol=1e-4)
    before = (run / "checkpoints" / "seed0.keras").stat().st_mtime_ns
    assert run_experiment(lambda: config, digits_mnist.experiment, argv) == 0
    assert (run / "checkpoints" / "seed0.keras").stat().st_mtime_ns == before  # Nothing was trained again.


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--model.units", "0"), "`--model.units`"),
        (("--model.detail", "16", "0"), "`--model.detail`"),
        (("--training.epochs", "0"), "`--training.epochs`"),
        (("--confidence.coverage", "1"), "`--confidence.coverage`"),
        (("--validation", "5000"), "`validation`"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(tmp_path, capsys, flags, named):
    argv = [*flags, "--runs", str(tmp_path)]
    for file in (digits_mnist, digits_robust):
        assert run_experiment(file.get_config, file.experiment, argv) == 2
        assert named in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_convolutions_at_full_resolution_and_stages_by_flags(tmp_path):
    report, seen = tmp_path / "report.md", []
    report.write_text("Right.\n")
    flags = ("--model.detail", "16", "24", "--model.stages.0", "8", "--model.stages.1", "8", "12")
    for argv in (flags, ("--model.detail",)):
        assert run_experiment(digits_mnist.get_config, lambda c: seen.append(c.model) or report, argv) == 0
    assert (seen[0].detail, seen[0].stages) == ((16, 24), ((8,), (8, 12)))
    assert seen[1].detail == ()


def test_what_a_robust_experiment_lacks_is_said_before_it_trains(tmp_path, monkeypatch):
    config = dataclasses.replace(digits_robust.get_config(), runs=tmp_path / "runs")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="Foolbox"):
        digits_robust.experiment(config)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    with pytest.raises(InputError, match="--letters"):
        digits_robust.experiment(dataclasses.replace(config, letters=tmp_path / "letters.zip"))
    assert not (tmp_path / "runs").exists()


def test_parts_are_apart_and_writers_too():
    digits = load_sklearn()
    parts = split_parts(digits, 0.1, limit=300)
    assert len(parts["train"]) + len(parts["validation"]) == 300
    writers = np.arange(len(digits)) // 20
    parts = split_parts(digits.with_writers(writers), 0.1)
    assert not np.intersect1d(parts["train"].writers, parts["validation"].writers).size


@pytest.mark.slow
def test_emnist_goes_the_same_road(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 260), ("test", 52)):
        labels = (np.arange(count) % 26 + 1).astype(np.uint8)
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(tmp_path / f"emnist-letters-{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"emnist-letters-{part}-labels-idx1-ubyte.gz", labels)
    config = digits_emnist.Config(
        path=tmp_path, split="letters", model=TINY, training=QUICK, runs=tmp_path / "runs", run="a"
    )
    report = digits_emnist.experiment(config)
    assert "emnist-letters" in report.read_text(encoding="utf-8").splitlines()[0]
    single = json.loads((report.parent / "metrics.json").read_text())["single"]
    assert single["low"] is single["high"] is None  # One seed has no interval.


@pytest.mark.slow
def test_ablation_compares_seed_by_seed_and_goes_on(tmp_path):
    config = digits_ablation.Config(
        limit=200, model=TINY, training=QUICK, variants=("no attention",), seeds=(0, 1), runs=tmp_path, run="a"
    )
    report = digits_ablation.experiment(config)
    assert "| no attention |" in report.read_text(encoding="utf-8")
    assert (report.parent / "figures" / "differences.png").is_file()
    kept = tmp_path / "digits_ablation" / "a" / "state" / "whole_0.json"
    before = kept.stat().st_mtime_ns
    digits_ablation.experiment(config)
    assert kept.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="no coffee"):
        digits_ablation.variants(dataclasses.replace(config, variants=("no coffee",)))
    assert len(digits_ablation.variants(digits_ablation.get_config())) == 15


def test_the_ablation_of_a_transformer_builds_only_the_variants_that_are_asked_for():
    transformer = RecogniserConfig(encoder="transformer")
    config = digits_ablation.Config(model=transformer, variants=("no attention",))
    assert digits_ablation.variants(config)["no attention"][0].attention == "none"
    with pytest.raises(InputError, match="`recurrence` has no effect"):
        digits_ablation.variants(dataclasses.replace(config, variants=("LSTM",)))


def test_plain_sgd_in_the_ablation_is_plain():
    training = digits_ablation.variants(digits_ablation.get_config())["plain SGD"][1]
    assert (training.optimizer, training.momentum, training.schedule, training.ema) == ("sgd", 0.0, "constant", 0.0)


@pytest.mark.slow
def test_robust_training_is_measured_beside_another(tmp_path):
    pytest.importorskip("foolbox", reason="attacks need the extra: pip install -e '.[attacks]'")
    model = dataclasses.replace(TINY, normalise=False)
    config = digits_robust.Config(
        limit=300, model=model, training=QUICK, attacked=40, epsilons=(0.1,), steps=2, runs=tmp_path, run="a"
    )
    first = digits_robust.experiment(config)
    robust = first.parent / "checkpoints" / "robust.keras"
    report = digits_robust.experiment(dataclasses.replace(config, against=(robust,), run="b"))
    assert "| a/robust |" in report.read_text(encoding="utf-8").replace("checkpoints/robust", "a/robust")
    metrics = json.loads((report.parent / "metrics.json").read_text())
    assert metrics["models"]["robust"]["attacks"]["pgd"].keys() == {"0.1"}
    with pytest.raises(InputError, match="missing"):
        digits_robust.experiment(dataclasses.replace(config, against=(tmp_path / "missing.keras",)))


def test_writers_of_made_up_digits(tmp_path):
    rng = np.random.default_rng(0)
    arrays, writers = {}, {}
    for part, first in (("train", 0), ("test", 100)):
        who = first + np.arange(400) // 20
        hsf = np.where(who % 2, 4, 0)
        images = rng.integers(0, 60, (400, 28, 28)).astype(np.uint8)
        images[:, 10:18, 10:18] += np.where(hsf == 4, 150, 40).astype(np.uint8)[:, None, None]
        arrays |= {f"x_{part}": images, f"y_{part}": np.arange(400) % 10}
        writers |= {f"writer_{part}": who, f"hsf_{part}": hsf}
    np.savez(tmp_path / "mnist.npz", **arrays)
    np.savez(tmp_path / "writers.npz", **writers)
    config = digits_writers.Config(
        path=tmp_path / "mnist.npz",
        writers=tmp_path / "writers.npz",
        model=TINY,
        training=QUICK,
        runs=tmp_path,
        run="a",
    )
    report = digits_writers.experiment(config)
    assert "10 students, 10 employees" in report.read_text(encoding="utf-8").splitlines()[0]
    with pytest.raises(InputError, match="--writers"):
        digits_writers.experiment(dataclasses.replace(config, writers=None))
    writers["writer_test"] = writers["writer_train"]
    np.savez(tmp_path / "writers.npz", **writers)
    with pytest.raises(InputError, match="both parts"):
        digits_writers.experiment(config)
