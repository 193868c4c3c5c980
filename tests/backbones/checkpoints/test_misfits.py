"""What does not fit is listed as such, whatever its shape; and what could be taken for something else is not."""

import keras
import numpy as np
import pytest

from age_keras.backbones.checkpoints.torch_checkpoint import read_checkpoint
from age_keras.backbones.checkpoints.torch_weights import load_torch_weights, torch_names
from age_keras.backbones.families import beit, convnext_v2, tiny_vit
from age_keras.errors import InputError

TINY = {
    "beit": (beit.beit, {"embed_dim": 8, "depth": 1, "num_heads": 2, "absolute_positions": True}, beit.WEIGHT_MAP),
    "tiny_vit": (
        tiny_vit.tiny_vit,
        {"embed_dims": (4, 4, 4, 4), "depths": (1, 1, 1, 1), "num_heads": (1, 2, 2, 2)},
        tiny_vit.WEIGHT_MAP,
    ),
    "convnext_v2": (convnext_v2.convnext_v2, {"depths": (1, 1), "dims": (4, 8)}, convnext_v2.WEIGHT_MAP),
}
TABLE = "blocks.0.attn.relative_position_bias_table"
BIASES = "stages.1.blocks.0.attn.attention_biases"
FC1 = "stages.0.blocks.0.mlp.fc1.weight"


def tiny(family):
    """A model of that family, what fits it, and the family's map of names."""
    function, architecture, weight_map = TINY[family]
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, function(inputs, 32, **architecture))
    state = {
        name: np.zeros(layout.torch_shape(tuple(variable.shape)), "float32")
        for name, (variable, layout) in torch_names(model).items()
    }
    return model, state, weight_map


@pytest.mark.parametrize(
    ("family", "name", "spoilt"),
    [
        ("beit", TABLE, lambda table: table[:-1]),
        ("beit", TABLE, lambda table: table[:, 0]),
        ("beit", TABLE, lambda table: table[0, 0]),
        ("beit", "pos_embed.pos_embed", lambda tokens: np.concatenate([tokens, tokens[:, :2]], axis=1)),
        ("beit", "pos_embed.pos_embed", lambda tokens: tokens[0]),
        ("beit", "pos_embed.pos_embed", lambda tokens: np.concatenate([tokens, tokens])),
        ("beit", "pos_embed.pos_embed", lambda tokens: tokens[0, 0, 0]),
        ("tiny_vit", BIASES, lambda biases: biases[:, :-1]),
        ("tiny_vit", BIASES, lambda biases: biases[0]),
        ("tiny_vit", BIASES, lambda biases: biases[0, 0]),
        ("convnext_v2", FC1, lambda matrix: matrix.T),
        ("convnext_v2", FC1, lambda matrix: matrix.T[..., None, None]),
        ("convnext_v2", FC1, lambda matrix: matrix.reshape(-1)),
    ],
)
def test_a_tensor_of_another_shape_is_listed(family, name, spoilt):
    model, state, weight_map = tiny(family)
    wrong = np.asarray(spoilt(state[name]))
    expected = state[name].shape
    with pytest.raises(InputError) as error:
        load_torch_weights(model, {**state, name: wrong}, weight_map)
    assert f"of the wrong shape: 1 ({name} {wrong.shape} instead of {expected})" in str(error.value)


def test_axes_of_length_one_are_dropped():
    model, state, weight_map = tiny("convnext_v2")
    state[FC1] = np.arange(64, dtype="float32").reshape(16, 4, 1, 1)
    state["stages.0.blocks.0.mlp.grn.weight"] = np.arange(16, dtype="float32").reshape(1, 1, 1, 16)
    load_torch_weights(model, state, weight_map)
    kernel = np.asarray(model.get_layer("stages.0.blocks.0.mlp.fc1").kernel)
    np.testing.assert_array_equal(kernel, state[FC1][..., 0, 0].T)
    np.testing.assert_array_equal(model.get_layer("stages.0.blocks.0.mlp.grn").weight, np.arange(16))


def spoilt_npz(path):
    """An .npz file whose one compressed member is damaged."""
    np.savez_compressed(path, a=np.random.default_rng(0).normal(size=1000))
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(100)
    path.write_bytes(content)


def one_array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def with_a_text(path):
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights")


@pytest.mark.parametrize("write", [spoilt_npz, one_array, with_a_text])
def test_an_npz_that_is_none(tmp_path, write):
    write(tmp_path / "weights.npz")
    with pytest.raises(InputError, match=r"weights\.npz is not .*\.npz file of plain arrays"):
        read_checkpoint(tmp_path / "weights.npz")
