"""The published networks' outputs, from weights under the published names."""

from pathlib import Path

import keras
import numpy as np
import pytest
from published import read_oracle, relative_difference

from age_keras.backbones.checkpoints.torch_weights import load_torch_weights
from age_keras.backbones.checkpoints.weight_map import renamed
from age_keras.backbones.families import beit, convnext_v2, mobile_vit, swin_v2

TOLERANCE = 1e-4  # of the largest feature
SWIN = {"embed_dim": 24, "depths": (2, 2, 2), "num_heads": (2, 4, 8), "window_size": 8}
FAMILIES = {
    "beit": (beit.beit, beit.WEIGHT_MAP, {"embed_dim": 96, "depth": 3, "num_heads": 4}),
    "convnextv2": (
        convnext_v2.convnext_v2,
        convnext_v2.WEIGHT_MAP,
        {"depths": (1, 1, 2, 1), "dims": (16, 32, 48, 64)},
    ),
    "mobilevit_xxs": (mobile_vit.mobile_vit, mobile_vit.WEIGHT_MAP, {}),
    "swinv2": (swin_v2.swin_v2, swin_v2.WEIGHT_MAP, SWIN),
}


def build(function, image_size, architecture):
    inputs = keras.Input((image_size, image_size, 3))
    return keras.Model(inputs, function(inputs, image_size, **architecture))


@pytest.mark.parametrize("family", FAMILIES)
def test_oracle(family, shared_data, tmp_path):
    import tensorflow as tf

    function, weight_map, architecture = FAMILIES[family]
    facts, state, x, expected = read_oracle(shared_data, family)
    model = build(function, facts["image_size"], architecture)
    load_torch_weights(model, state, weight_map)
    assert relative_difference(model(x), expected) < TOLERANCE
    assert relative_difference(tf.function(model, jit_compile=True)(x), expected) < TOLERANCE
    model.save(tmp_path / "model.keras")
    assert relative_difference(keras.saving.load_model(tmp_path / "model.keras")(x), expected) < TOLERANCE


@pytest.mark.parametrize("image_size", [64, 88])
def test_swin_v2_as_published(image_size):
    """At 88 pixels no window tiles its map. The features are timm 1.0.31's for the same seeded weights."""
    with np.load(Path(__file__).parent / "files" / "swin_v2.npz") as file:
        names, shapes, expected = file["names"], file["shapes"], file[f"features_{image_size}"]
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in zip(names, shapes, strict=True):
        value = rng.standard_normal([int(n) for n in shape.split(",")]).astype("float32")
        if name.endswith("logit_scale"):
            value = 1.5 + 0.2 * value
        elif value.ndim > 1:
            value = value / np.sqrt(np.prod(value.shape[1:]))
        else:
            value = 0.2 * value if name.endswith("bias") else 1 + 0.2 * value
        state[str(name)] = value.astype("float32")
    x = rng.standard_normal((1, image_size, image_size, 3)).astype("float32")
    model = build(swin_v2.swin_v2, image_size, SWIN)
    load_torch_weights(model, state, swin_v2.WEIGHT_MAP)
    assert relative_difference(model(x), expected) < TOLERANCE


def test_beit_in_the_names_of_transformers():
    """A checkpoint as `microsoft/dit-base` names it, with q, k and v apart, is the same network."""
    architecture = {"embed_dim": 16, "depth": 1, "num_heads": 2, "relative_positions": False}
    model, same = (build(beit.beit, 32, {**architecture, "absolute_positions": True}) for _ in range(2))
    own = {v.path: np.random.default_rng(i).standard_normal(v.shape) for i, v in enumerate(model.variables)}
    for variable in model.variables:
        variable.assign(own[variable.path])
    query, key, value = np.split(own["blocks.0.attn.qkv/kernel"].T, 3)
    block = "beit.encoder.layer.0."
    state = {
        "beit.embeddings.cls_token": own["cls_token/cls_token"],
        "beit.embeddings.mask_token": np.zeros((1, 1, 16)),
        "beit.embeddings.position_embeddings": own["pos_embed/pos_embed"],
        "beit.embeddings.patch_embeddings.projection.weight": own["patch_embed.proj/kernel"].transpose(3, 2, 0, 1),
        "beit.embeddings.patch_embeddings.projection.bias": own["patch_embed.proj/bias"],
        f"{block}lambda_1": own["blocks.0.gamma_1/scale"],
        f"{block}lambda_2": own["blocks.0.gamma_2/scale"],
        f"{block}attention.attention.query.weight": query,
        f"{block}attention.attention.query.bias": own["blocks.0.attn/q_bias"],
        f"{block}attention.attention.key.weight": key,
        f"{block}attention.attention.value.weight": value,
        f"{block}attention.attention.value.bias": own["blocks.0.attn/v_bias"],
        f"{block}attention.output.dense.weight": own["blocks.0.attn.proj/kernel"].T,
        f"{block}attention.output.dense.bias": own["blocks.0.attn.proj/bias"],
        f"{block}intermediate.dense.weight": own["blocks.0.mlp.fc1/kernel"].T,
        f"{block}intermediate.dense.bias": own["blocks.0.mlp.fc1/bias"],
        f"{block}output.dense.weight": own["blocks.0.mlp.fc2/kernel"].T,
        f"{block}output.dense.bias": own["blocks.0.mlp.fc2/bias"],
        f"{block}layernorm_before.weight": own["blocks.0.norm1/gamma"],
        f"{block}layernorm_before.bias": own["blocks.0.norm1/beta"],
        f"{block}layernorm_after.weight": own["blocks.0.norm2/gamma"],
        f"{block}layernorm_after.bias": own["blocks.0.norm2/beta"],
        "beit.layernorm.weight": np.ones(16),
        "lm_head.weight": np.zeros((8, 16)),
    }
    load_torch_weights(same, {name: value.astype("float32") for name, value in state.items()}, beit.WEIGHT_MAP)
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(same(x)), np.asarray(model(x)))


def test_beit_as_transformers_5_names_it_in_memory():
    names = {
        "beit.layers.3.attention.o_proj.bias": "blocks.3.attn.proj.bias",
        "beit.layers.3.attention.q_proj.bias": "blocks.3.attn.q_bias",
        "beit.layers.3.lambda_1": "blocks.3.gamma_1",
        "beit.layers.3.mlp.fc1.weight": "blocks.3.mlp.fc1.weight",
        "beit.layers.3.relative_position_bias.relative_position_bias_table": (
            "blocks.3.attn.relative_position_bias_table"
        ),
    }
    assert list(beit.WEIGHT_MAP.prepare({name: np.zeros(1) for name in names})) == list(names.values())


ATTENTION = "swinv2.encoder.layers.1.blocks.0.attention"


def test_swin_v2_in_the_names_of_transformers():
    """A checkpoint as `microsoft/swinv2-tiny-patch4-window8-256` names it is the same network."""
    names = {
        "swinv2.embeddings.norm.weight": "patch_embed.norm.weight",
        "swinv2.encoder.layers.0.downsample.reduction.weight": "layers.1.downsample.reduction.weight",
        f"{ATTENTION}.self.continuous_position_bias_mlp.2.weight": "layers.1.blocks.0.attn.cpb_mlp.2.weight",
        f"{ATTENTION}.self.logit_scale": "layers.1.blocks.0.attn.logit_scale",
        f"{ATTENTION}.self.value.bias": "layers.1.blocks.0.attn.v_bias",
        f"{ATTENTION}.output.dense.weight": "layers.1.blocks.0.attn.proj.weight",
        "swinv2.encoder.layers.1.blocks.0.output.dense.bias": "layers.1.blocks.0.mlp.fc2.bias",
        "swinv2.encoder.layers.1.blocks.0.layernorm_after.bias": "layers.1.blocks.0.norm2.bias",
        "swinv2.layernorm.bias": "norm.bias",
    }
    parts = {part: np.full((2, 2), i) for i, part in enumerate(("query", "key", "value"))}
    state = {name: np.zeros(1) for name in names}
    state |= {f"{ATTENTION}.self.{part}.weight": matrix for part, matrix in parts.items()}
    ours = swin_v2.WEIGHT_MAP.prepare(state)
    fused = ours.pop("layers.1.blocks.0.attn.qkv.weight")
    np.testing.assert_array_equal(fused[:, 0], [0, 0, 1, 1, 2, 2])
    assert sorted(ours) == sorted(names.values())


def test_convnext_v2_in_the_names_of_transformers():
    names = {
        "convnextv2.embeddings.patch_embeddings.weight": "stem.0.weight",
        "convnextv2.embeddings.layernorm.bias": "stem.1.bias",
        "convnextv2.encoder.stages.1.downsampling_layer.0.weight": "stages.1.downsample.0.weight",
        "convnextv2.encoder.stages.1.layers.2.dwconv.weight": "stages.1.blocks.2.conv_dw.weight",
        "convnextv2.encoder.stages.1.layers.2.layernorm.weight": "stages.1.blocks.2.norm.weight",
        "convnextv2.encoder.stages.1.layers.2.pwconv1.weight": "stages.1.blocks.2.mlp.fc1.weight",
        "convnextv2.encoder.stages.1.layers.2.grn.weight": "stages.1.blocks.2.mlp.grn.weight",
        "convnextv2.layernorm.weight": "norm.weight",
    }
    weight_map = convnext_v2.WEIGHT_MAP
    ours = renamed(weight_map.prepare({name: np.zeros(1) for name in names}), weight_map.rename)
    assert list(ours) == list(names.values())
