"""keras-cv's networks take keras-cv's weights under every policy, and its ViTs those of timm.

`files/vit.npz` is timm 1.0.31's VisionTransformer(img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2,
num_classes=3) with random weights in half floats, its `forward_features` of an input, and those of a larger input where
`checkpoint_filter_fn` has resized the position embeddings.
"""

from pathlib import Path

import keras
import numpy as np
import pytest
from published import relative_difference

from age_keras.backbones import build_backbone, get_spec
from age_keras.backbones.checkpoints.torch_checkpoint import read_checkpoint
from age_keras.backbones.checkpoints.torch_weights import load_torch_weights
from age_keras.backbones.families.keras_cv import vit
from age_keras.backbones.layers.keras_cv import KerasCVLayer, copy_weights
from age_keras.errors import InputError

FILE = Path(__file__).parent / "files" / "vit.npz"
WEIGHT_MAP = get_spec("vit_tiny_16").weight_map
TINY = {"patch_size": 4, "project_dim": 16, "depth": 2, "num_heads": 2}


def tiny(image_size=16, **options):
    inputs = keras.Input((image_size, image_size, 3))
    return keras.Model(inputs, vit(inputs, image_size, **TINY, **options), name="tiny_vit")


@pytest.fixture(scope="module")
def published():
    """(weights, inputs and features of the published network)."""
    with np.load(FILE) as file:
        arrays = {key: file[key] for key in ("input", "features", "larger_input", "larger_features")}
    return read_checkpoint(FILE), arrays


@pytest.mark.parametrize(("size", "which"), [(16, ""), (24, "larger_")])
def test_timms_weights_give_timms_features(published, size, which):
    state, arrays = published
    model = tiny(size)
    load_torch_weights(model, state, WEIGHT_MAP)
    x, expected = arrays[f"{which}input"], arrays[f"{which}features"]
    assert relative_difference(model(x), expected) < 3e-6
    for layer in model.layers:
        if isinstance(layer, KerasCVLayer):
            layer.set_gelu(exact=False)
    assert relative_difference(model(x), expected) > 1e-5


def test_with_stochastic_depth_too(published):
    state, arrays = published
    model = tiny(drop_path_rate=0.5)
    load_torch_weights(model, state, WEIGHT_MAP)
    assert relative_difference(model(arrays["input"]), arrays["features"]) < 3e-6


def test_the_gelu_of_a_saved_model_is_kept(published, tmp_path):
    from age_keras.backbones.checkpoints.weights import load_file

    state, arrays = published
    model = tiny()
    load_torch_weights(model, state, WEIGHT_MAP)
    model.save(tmp_path / "vit.keras")
    expected = np.asarray(model(arrays["input"]))
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "vit.keras")(arrays["input"]), expected)
    model.save_weights(tmp_path / "vit.weights.h5")
    for file in ("vit.keras", "vit.weights.h5"):
        again = tiny()
        load_file(again, get_spec("vit_tiny_16"), tmp_path / file)
        np.testing.assert_array_equal(again(arrays["input"]), expected)


@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        ("blocks.1.attn.qkv.weight", lambda matrix: matrix[:-1]),
        ("blocks.1.attn.qkv.bias", lambda vector: vector[0]),
        ("blocks.1.attn.proj.weight", lambda matrix: matrix.reshape(8, 32)),
        ("pos_embed", lambda tokens: tokens[:, :-1]),
    ],
)
def test_what_does_not_fit_is_listed(published, name, spoilt):
    state, _ = published
    with pytest.raises(InputError, match=f"does not fit tiny_vit.*{name}"):
        load_torch_weights(tiny(), {**state, name: np.asarray(spoilt(state[name]))}, WEIGHT_MAP)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "bfloat16", "float16"])
def test_keras_cvs_own_weights_are_copied(policy):
    from keras_cv.src.models.legacy.vit import ViT

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        numbers = {"patch_size": 16, "transformer_layer_num": 1, "project_dim": 16, "mlp_dim": 64, "num_heads": 2}
        options = {"include_rescaling": False, "include_top": False, "mlp_dropout": 0.0, "attention_dropout": 0.0}
        source = ViT(input_shape=(32, 32, 3), activation=keras.activations.gelu, **numbers, **options)
        model = build_backbone("vit_tiny_16", 32, project_dim=16, num_heads=2, depth=1, preprocessing="none")
        larger = build_backbone("vit_tiny_16", 64, project_dim=16, num_heads=2, depth=1)
        copy_weights(source, model)
        copy_weights(source, larger)
        x = np.random.default_rng(0).random((2, 32, 32, 3)).astype("float32")
        expected = keras.ops.convert_to_numpy(keras.ops.cast(source(x), "float32"))
        got = keras.ops.convert_to_numpy(keras.ops.cast(model(2 * x - 1), "float32"))
    finally:
        keras.config.set_dtype_policy(before)
    assert relative_difference(got, expected) < (1e-5 if policy == "float32" else 0.05)


def test_nothing_is_never_copied_silently():
    empty = keras.Sequential([keras.Input((1,))], name="empty")
    with pytest.raises(ValueError, match="nothing to copy"):
        copy_weights(empty, empty)


def test_attention_weights_sum_to_one():
    layer = tiny().get_layer("block_1")
    weights = layer.attention_weights(np.random.default_rng(0).normal(size=(2, 17, 16)).astype("float32"))
    assert weights.shape == (2, 2, 17, 17)
    np.testing.assert_allclose(np.asarray(weights).sum(axis=-1), 1, rtol=1e-5)
