"""Checkpoints are read without running their code, and fit whole or not at all."""

import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from age_keras.backbones import build_backbone, get_spec
from age_keras.backbones.checkpoints.torch_checkpoint import _read_torch, read_checkpoint
from age_keras.backbones.checkpoints.torch_weights import load_torch_weights
from age_keras.backbones.checkpoints.weight_map import WeightMap
from age_keras.backbones.checkpoints.weights import download, load_weights
from age_keras.backbones.families import beit
from age_keras.backbones.registry import WeightSource
from age_keras.errors import InputError

CHECKPOINTS = Path(__file__).parents[1] / "files"
TINY = {"embed_dim": 16, "depth": 1, "num_heads": 2}


def tiny_beit(image_size=32):
    inputs = keras.Input((image_size, image_size, 3))
    return keras.Model(inputs, beit.beit(inputs, image_size, **TINY), name="tiny_beit")


def published_names(model):
    """A state dict of the tiny BEiT as its authors name it."""
    from age_keras.backbones.checkpoints.torch_weights import torch_names

    rng = np.random.default_rng(0)
    short = {"cls_token.cls_token": "cls_token"}
    state = {}
    for name, (variable, layout) in torch_names(model).items():
        name = short.get(name, name.removesuffix(".scale"))
        state[name] = rng.standard_normal(layout.torch_shape(tuple(variable.shape))).astype("float32")
    return state


def test_what_torch_saved():
    state = read_checkpoint(CHECKPOINTS / "small.pth")
    base = np.arange(12, dtype="float32").reshape(3, 4)
    expected = {
        "plain": base,
        "transposed": base.T,
        "row": base[1],
        "half": np.float32([1.5, -2.25]),
        "brain": np.float32([1.5, -2.25, 3.0]),
        "count": np.int64(7),
        "parameter": np.float32([[1, 2]]),
        "none": np.zeros((0, 3), "float32"),
    }
    assert list(state) == list(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(state[name], value)
    assert state["half"].dtype == state["brain"].dtype == np.float32


def test_what_torch_saved_before_its_zip_format(tmp_path):
    state = read_checkpoint(CHECKPOINTS / "legacy.pth")
    np.testing.assert_array_equal(state["a"], np.arange(12, dtype="float32").reshape(3, 4))
    content = (CHECKPOINTS / "legacy.pth").read_bytes()
    for length in (len(content) - 1, len(content) // 2, 20):
        (tmp_path / "cut.pth").write_bytes(content[:length])
        with pytest.raises(InputError, match=r"cut\.pth is not a whole PyTorch checkpoint"):
            read_checkpoint(tmp_path / "cut.pth")


def test_anything_else_than_tensors_is_refused():
    with pytest.raises(InputError, match=r"asks for torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(CHECKPOINTS / "module.pth")


def test_no_code_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    with zipfile.ZipFile(tmp_path / "evil.pth", "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"weight": Evil()}))
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"weight": Evil()}))
    for file in ("evil.pth", "old.pth"):
        with pytest.raises(InputError, match="nothing in it was run"):
            read_checkpoint(tmp_path / file)
    assert not (tmp_path / "run").exists()


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    good = (CHECKPOINTS / "small.pth").read_bytes()
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:4] if "/data/" in name and len(content) == 48 else content)
    (tmp_path / "short.pth").write_bytes(out.getvalue())
    with pytest.raises(InputError, match="not a whole PyTorch checkpoint"):
        read_checkpoint(tmp_path / "short.pth")


@pytest.mark.parametrize("content", [b"", b"nonsense"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".npz"])
def test_broken_files(tmp_path, suffix, content):
    file = tmp_path / f"broken{suffix}"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\."):
        read_checkpoint(file)


def test_all_or_nothing():
    model = tiny_beit()
    state = published_names(model)
    before = model.get_weights()
    del state["blocks.0.norm1.weight"]
    state["blocks.0.surplus"] = np.zeros(3, "float32")
    state["blocks.0.mlp.fc1.bias"] = np.zeros(5, "float32")
    with pytest.raises(InputError) as error:
        load_torch_weights(model, state, beit.WEIGHT_MAP, source="file.pth")
    for part in ("file.pth", "left over: 1 (blocks.0.surplus)", "missing: 1 (blocks.0.norm1.weight)", "(5,)", "(64,)"):
        assert part in str(error.value)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_two_names_for_one_variable():
    with pytest.raises(InputError, match="would both be a"):
        load_torch_weights(tiny_beit(), {"a": np.zeros(1), "b": np.zeros(1)}, WeightMap(rename=(("^b$", "a"),)))


def test_positions_at_another_size():
    small, large = tiny_beit(32), tiny_beit(64)
    state = published_names(small)
    load_torch_weights(large, state, beit.WEIGHT_MAP)
    table = keras.ops.convert_to_numpy(large.get_layer("blocks.0.attn").table)
    np.testing.assert_array_equal(table[-3:], state["blocks.0.attn.relative_position_bias_table"][-3:])
    centre = table[:49].reshape(7, 7, -1)[3, 3]
    np.testing.assert_allclose(centre, state["blocks.0.attn.relative_position_bias_table"][:9].reshape(3, 3, -1)[1, 1])


def test_hub_file_by_name(tmp_path, monkeypatch, capsys):
    import huggingface_hub

    calls = []

    def fetched(repository, filename, revision, cache_dir, **_):
        calls.append((repository, filename, revision))
        return str(CHECKPOINTS / "small.pth")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetched)
    spec = get_spec("fastervit_0")
    assert download(spec, WeightSource("owner/name", "model.pth", "abc")) == CHECKPOINTS / "small.pth"
    assert calls == [("owner/name", "model.pth", "abc")]
    with pytest.raises(InputError):
        load_weights(keras.Sequential(name="other"), spec, "imagenet")
    assert "does not allow commercial use" in capsys.readouterr().err


def test_a_file_that_its_publisher_changed_is_refused(monkeypatch):
    monkeypatch.setattr(keras.utils, "get_file", lambda name, address, **_: str(CHECKPOINTS / "small.pth"))
    spec = get_spec("mobilevit_s")
    digest = hashlib.sha256((CHECKPOINTS / "small.pth").read_bytes()).hexdigest()
    for known in ("", digest[:8], digest):
        source = WeightSource("https://example.org/v1", "small.pth", "v1", sha256=known)
        assert download(spec, source) == CHECKPOINTS / "small.pth"
    with pytest.raises(InputError, match=f"its SHA-256 is {digest}, where 38a5a959 is expected"):
        download(spec, spec.weights["imagenet"])


def test_without_a_network(monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    spec = get_spec("swinv2_tiny")
    with pytest.raises(InputError, match=r"huggingface.co/timm/swinv2_tiny.*model.safetensors by hand.*weights=FILE"):
        download(spec, spec.weights["imagenet"])


def test_keras_files(tmp_path):
    model = build_backbone("resnet10", 32)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    for name in ("model.keras", "model.weights.h5"):
        again = build_backbone("resnet10", 32, weights=tmp_path / name)
        np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(model(x)))
    with pytest.raises(InputError, match=r"small.pth is not a file of weights that resnet10 reads: use .keras, .h5"):
        build_backbone("resnet10", 32, weights=CHECKPOINTS / "small.pth")
    with pytest.raises(InputError, match="There are no weights 'imagenet'"):
        build_backbone("resnet10", 32, weights="imagenet")


def test_the_authors_own_file_of_beit():
    """What their release has: the tensors under `model`, the buffers of the relative positions, no key bias.

    Made with timm 1.0.31's Beit(img_size=8, patch_size=4, embed_dim=8, depth=1, num_heads=2), whose names of parameters
    are the authors'; with an input, and what its last block makes of that.
    """
    path = CHECKPOINTS / "beit_authors.pth"
    state, whole = read_checkpoint(path), _read_torch(path)
    assert "blocks.0.attn.relative_position_index" in state
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, beit.beit(inputs, 8, patch_size=4, embed_dim=8, depth=1, num_heads=2))
    load_torch_weights(model, state, beit.WEIGHT_MAP)
    np.testing.assert_allclose(model(whole["input"]), whole["features"], atol=1e-5)
