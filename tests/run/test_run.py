"""A run's folder: found again by the same configuration, refused to another one."""

import json
from dataclasses import replace

import pytest

from age_keras.config.age import AgeConfig
from age_keras.errors import InputError
from age_keras.run.folder import Run


def test_the_same_configuration_finds_its_folder(tmp_path):
    first = Run.open(tmp_path, "demo", AgeConfig(), data_fingerprint="f")
    assert Run.open(tmp_path, "demo", AgeConfig(), data_fingerprint="f").path == first.path
    assert Run.open(tmp_path, "demo", AgeConfig(seed=1)).path != first.path
    assert json.loads((first.path / "config.json").read_text())["seed"] == 0
    environment = first.read_json("environment.json")
    assert environment["data_fingerprint"] == "f"
    assert len(environment["started"]) == 2
    assert {"tensorflow", "keras", "numpy"} <= set(environment["packages"])
    assert environment["command"].startswith("python")  # and what it was given


def test_a_name_holds_one_configuration_and_one_set_of_data(tmp_path):
    Run.open(tmp_path, "demo", AgeConfig(), "mine", data_fingerprint="f")
    with pytest.raises(InputError, match=r"another configuration \(seed: 0 -> 1\).*--fresh"):
        Run.open(tmp_path, "demo", AgeConfig(seed=1), "mine")
    with pytest.raises(InputError, match=r"other data.*--fresh"):
        Run.open(tmp_path, "demo", AgeConfig(), "mine", data_fingerprint="g")
    Run.open(tmp_path, "demo", replace(AgeConfig(), seed=1), "mine", fresh=True, data_fingerprint="g")


def test_a_folder_that_cannot_be_made_and_a_file_that_is_broken(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another with --runs"):
        Run.open(tmp_path / "file", "demo", AgeConfig())
    run = Run.open(tmp_path, "demo", AgeConfig())
    with pytest.raises(InputError, match=r"has no metrics.json"):
        run.read_json("metrics.json")
    (run.path / "metrics.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        run.read_json("metrics.json")
