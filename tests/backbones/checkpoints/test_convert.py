"""`age-keras backbones convert`: a checkpoint to a file that loads, or one sentence."""

import errno
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from test_torch_weights import TINY, published_names, tiny_beit

from age_keras.backbones import build_backbone, get_spec, registry
from age_keras.backbones.checkpoints.torch_weights import load_torch_weights
from age_keras.backbones.families import beit
from age_keras.cli import main
from age_keras.errors import InputError

WITH_NOTICE = registry.WeightSource("owner/name", licence="CC-BY-NC-4.0", commercial=False)


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """A checkpoint of what is `beit_base` for the time of a test: tiny, its weights not for commercial use."""
    spec = get_spec("beit_base")
    small = registry.replace(spec, build=partial(beit.beit, **TINY), weights={"imagenet": WITH_NOTICE})
    monkeypatch.setitem(registry._SPECS, "beit_base", small)
    save_file(published_names(tiny_beit()), tmp_path / "beit.safetensors")
    return tmp_path / "beit.safetensors"


def convert(checkpoint, out, *options, size="32"):
    return main(["backbones", "convert", "beit_base", str(checkpoint), str(out), "--image-size", size, *options])


def test_convert_on_the_command_line(checkpoint, tmp_path, capsys):
    out = tmp_path / "new" / "beit.keras"
    assert convert(checkpoint, out, "--preprocessing", "none") == 0
    assert "does not allow commercial use" in capsys.readouterr().err
    model = tiny_beit()
    state = published_names(model)
    load_torch_weights(model, state, beit.WEIGHT_MAP)
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(keras.saving.load_model(out)(x)), np.asarray(model(x)))
    assert list(out.parent.iterdir()) == [out]


def test_what_does_not_fit_is_one_line(checkpoint, tmp_path, capsys):
    state = published_names(tiny_beit())
    del state["cls_token"]
    save_file(state, tmp_path / "less.safetensors")
    for file, out, size, said in (
        (checkpoint, "out.h5", "32", "must end in .keras"),
        (tmp_path / "none.pth", "out.keras", "32", "none.pth"),
        (tmp_path / "less.safetensors", "out.keras", "32", "missing: 1 (cls_token"),
        (checkpoint, "out.keras", "0", "image_size=0 is too small"),
    ):
        assert convert(file, tmp_path / out, size=size) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.splitlines()) == 1
    assert not list(tmp_path.glob("out*"))


def test_a_file_that_cannot_be_written_is_said_before_the_work(checkpoint, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("age_keras.backbones.build.build_backbone", lambda *_, **__: pytest.fail("work was done"))
    (tmp_path / "folder.keras").mkdir()
    for out in (tmp_path / "folder.keras", checkpoint / "out.keras", Path("/proc/none/out.keras")):
        assert convert(checkpoint, out) == 2
        error = capsys.readouterr().err
        assert f"{out} cannot be written" in error
        assert len(error.splitlines()) == 1


def test_a_disk_that_fills_up(checkpoint, tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    assert convert(checkpoint, tmp_path / "out.keras") == 2
    assert "out.keras cannot be written: No space left on device" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == [checkpoint]


def test_a_size_of_nought_is_no_default():
    with pytest.raises(InputError, match="image_size=0 is too small"):
        build_backbone("resnet10", image_size=0)
