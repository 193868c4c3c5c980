"""What each experiment can be told: no flag that it ignores, and no Keras before the request is known to be sound."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from age_keras import cli
from age_keras.config.age import AgeConfig, PhaseConfig
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.errors import InputError
from age_keras.training.request import check_request, size_remarks
from experiments import vit, vit_variants

ROOT = Path(__file__).resolve().parents[2]
AGE = (
    "baseline_cnn",
    "cnn_ensemble",
    "cross_validation",
    "demo",
    "expanded_dataset",
    "heads",
    "hp_tuning",
    "hp_tuning_wide",
    "multi_host",
    "published_protocol",
    "vit",
    "vit_cross_validation",
    "vit_variants",
)
HOLDOUT = ("baseline_cnn", "cnn_ensemble", "demo", "expanded_dataset", "multi_host", "vit", "vit_variants")
FOLDS = ("cross_validation", "heads", "published_protocol", "vit_cross_validation")
SEARCHES = ("hp_tuning", "hp_tuning_wide")

ABSENT = [
    *((name, ["--model.backbone", "resnet10"]) for name in AGE),
    *((name, ["--folds.count", "3"]) for name in (*HOLDOUT, *SEARCHES)),
    *((name, [flag, "0.3"]) for name in FOLDS for flag in ("--test", "--validation")),
    *((name, ["--validation", "0.3"]) for name in SEARCHES),
    *((name, ["--runtime.workers", "2"]) for name in (*SEARCHES, "multi_host", "expanded_dataset")),
    *(("heads", flags) for flags in (["--model.head", "corn"], ["--model.loss", "mse"], ["--training.mix", "c_mixup"])),
    ("multi_host", ["--runtime.precision", "mixed_float16"]),
    ("multi_host", ["--runtime.xla"]),
    ("multi_host", ["--training.batched-heads"]),
    ("multi_host", ["--training.mix", "c_mixup"]),
    ("multi_host", ["--runtime.no-prefix-cache"]),
]


def start(name: str, *flags: str) -> int:
    """Parses flags as the experiment does; the work itself must not be reached."""
    module = importlib.import_module(f"experiments.{name}")

    def experiment(config):
        raise AssertionError("The work began.")

    experiment.__module__ = module.__name__
    return cli.run_experiment(module.get_config, experiment, flags)


@pytest.mark.parametrize(("name", "flags"), ABSENT, ids=lambda value: value if isinstance(value, str) else value[0])
def test_a_flag_that_an_experiment_ignores_does_not_exist(name, flags, capsys):
    assert start(name, *flags) == 2
    assert flags[0] in capsys.readouterr().err


@pytest.mark.parametrize("name", [*AGE, "grad_cam"])
def test_help_opens_with_the_experiments_docstring(name, capsys):
    assert start(name, "--help") == 0
    assert f"experiments.{name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "nowhere"], "There is no nowhere"),
        (["--labels", "no.csv"], "There is no no.csv"),
        (["--backbones", "resnet51"], "did you mean"),
        (["--backbones", "inception_v3", "--pages.image-size", "64"], "image_size=64 is too small for inception_v3"),
        (["--model.weights", "no.h5"], "There are no weights 'no.h5'"),
        (["--model.pooling", "class_token"], "has no class token"),
        (["--model.drop-path-rate", "0.1"], "has no `drop_path_rate`"),
        (["--runs", __file__], "choose another with --runs"),
        (["--seed", "-1"], "`--seed` must be a whole number in [0, 2147483648). Received: seed=-1."),
        (["--training.frozen.epochs", "-1"], "`--training.frozen.epochs` must be a whole number of at least 0."),
        (["--training.fine-tune.weight-decay", "0.1"], "`--training.fine-tune.weight-decay` has no effect with"),
        (["--training.frozen.epochs", "0", "--training.fine-tune.epochs", "0"], "`--training.frozen.epochs`"),
        (["--training.fine-tune.optimizer", "lamb"], "lamb"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(flags, message, capsys):
    assert start("baseline_cnn", *flags) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--folds.column", "part"], "labels.csv has no column 'part' for the folds: choose one of ImageID, Age"),
        (["--columns.age", "years"], "years"),
        (["--columns.sex", "gender"], "gender"),
    ],
)
def test_an_unknown_column_is_refused_before_the_work(flags, message, tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("file,age,writer\na.png,30,x\n", encoding="utf-8")
    assert start("cross_validation", "--data", str(tmp_path), *flags) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("digits_mnist", ["--training.no-augment", "--training.warp.zoom", "0.3"], "`--training.warp` has no effect"),
        ("digits_mnist", ["--model.attention", "dot", "--model.heads", "2"], "`--model.heads` has no effect"),
        ("digits_writers", ["--model.recurrence", "none", "--model.bidirectional"], "`--model.bidirectional` has no"),
        ("digits_robust", ["--model.encoder", "transformer", "--model.bidirectional"], "`--model.bidirectional` has"),
    ],
)
def test_a_flag_without_effect_is_refused(name, flags, message, capsys):
    assert start(name, *flags) == 2
    assert message in capsys.readouterr().err


def test_an_experiments_own_default_without_effect_is_nobodys_wish(capsys):
    with pytest.raises(AssertionError, match="The work began"):
        start("digits_writers", "--model.attention", "dot", "--model.recurrence", "none", "--training.no-augment")


def test_an_unknown_variant_is_refused_before_the_work(capsys):
    assert start("heads", "--variants", "mae", "ordinal") == 2
    assert "ordinal" in capsys.readouterr().err


def test_the_plain_phase_of_vit_variants_can_be_built_from_any():
    for phase in (vit.get_config().training.fine_tune, PhaseConfig(5, 1e-4, unfreeze=0.5, plateau_patience=2)):
        plain = vit_variants._without_help(phase)
        assert (plain.schedule, plain.warmup, plain.layer_decay, plain.clip_norm) == ("constant", 0, 1.0, 0.0)
        assert (plain.epochs, plain.unfreeze, plain.optimizer) == (phase.epochs, phase.unfreeze, phase.optimizer)


def test_a_backbone_that_sees_another_size_than_it_was_trained_at_is_named():
    config = AgeConfig(backbones=("resnet50", "inception_v3"), pages=PageSettings(image_size=224))
    assert size_remarks(config) == [
        "inception_v3 was pretrained on images of 299 pixels; here it sees 224 (--pages.image-size)."
    ]
    assert not size_remarks(AgeConfig(backbones=("inception_v3",), model=ModelConfig(weights="none")))


def test_python_callers_are_refused_as_well(tmp_path):
    with pytest.raises(InputError, match="did you mean"):
        check_request(AgeConfig(backbones=("resnet5",), runs=tmp_path))


def test_configurations_are_built_and_checked_without_keras():
    code = f"""
import importlib, sys
from age_keras.training.request import check_request
for name in {AGE}:
    check_request(importlib.import_module(f"experiments.{{name}}").get_config())
for name in ("grad_cam", "digits_ablation", "digits_emnist", "digits_mnist", "digits_robust", "digits_writers"):
    importlib.import_module(f"experiments.{{name}}").get_config()
import tuning.search, tuning.search_digits
print([m for m in ("tensorflow", "keras", "keras_tuner") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
