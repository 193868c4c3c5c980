"""The searches as experiments, on a few synthetic writers."""

from dataclasses import replace

import pandas as pd
import pytest

from age_keras.config.age import PhaseConfig, SerialRuntime
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from experiments import hp_tuning, hp_tuning_wide


def tiny(config, tmp_path, **changes):
    """The experiment's configuration for a small network, short trainings and two folds."""
    training = replace(
        config.training, frozen=PhaseConfig(2, 1e-3), fine_tune=PhaseConfig(1, 1e-4, 0.25), batch_size=16, views=1
    )
    return replace(
        config,
        synthetic_writers=20,
        model=ModelConfig(weights="none"),
        pages=PageSettings(shorter_side=400, patch_size=200, stride=200, image_size=32),
        training=training,
        runtime=SerialRuntime(tensorboard=False),
        folds=2,
        test=0.2,
        bands=(25,),
        runs=tmp_path,
        **changes,
    )


@pytest.mark.slow
def test_each_backbone_has_a_search_and_one_page_sums_up(tmp_path):
    config = tiny(hp_tuning.get_config(), tmp_path, backbones=("resnet10", "mobilenetv3_small"), trials=2)
    text = hp_tuning.experiment(config).read_text()
    assert text.startswith("# Searches of 2 backbones")
    assert text.count("The chosen configuration") == 2
    runs = [path for path in (tmp_path / "hp_tuning").iterdir() if path.is_dir()]
    assert len(runs) == 2
    for run in runs:
        assert len(pd.read_csv(run / "trials.csv")) == 2
        assert {path.stem for path in (run / "figures").glob("*.png")} >= {"parallel_coordinates", "progress"}


@pytest.mark.slow
def test_the_wide_search_takes_heads_losses_and_augmentations(tmp_path):
    config = tiny(hp_tuning_wide.get_config(), tmp_path, backbones=("resnet10",), trials=4)
    report = hp_tuning_wide.experiment(config)
    assert "writers that no trial saw" in report.read_text().splitlines()[0]
    table = pd.read_csv(report.parent / "trials.csv")
    assert {"head", "optimizer", "augment", "pooling", "unfreeze"} <= set(table)
    assert set(table["status"]) <= {"complete", "cut"}
    assert len(list((report.parent / "tensorboard" / "trials").iterdir())) == len(table)
