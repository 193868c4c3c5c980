"""SwinV2: windows that shift by half, cosine attention, position bias from a small network, norms after the branches.

Liu et al. 2022, "Swin Transformer V2: Scaling Up Capacity and Resolution", arXiv:2111.09883.

Written here rather than taken from zeromodels 1.3.6 (Apache-2.0), the one Keras 3 library that has it. Exactness: it
equals timm where windows divide their maps and deviates by 1e-2 where they do not, and its shifts and eight-axis
transposes cannot be exported to LiteRT or ONNX. Releases: eleven within eight weeks (1.2.6 of 27 August to 1.3.6 of 19
October 2026), and none older is left in the package index, so that a pinned version may vanish. Size: 940 files for
dozens of families, and a text tokenizer (tokenizers, sentencepiece) that nothing here has a use for.

A layer with weights is named after its parameters in the published checkpoints (`layers.1.blocks.0.attn.qkv`), and a
block's last layer after the block (`layers.1.blocks.0`).
"""

import functools

from age_keras.backbones.checkpoints import transformers_names
from age_keras.backbones.checkpoints.weight_map import State, WeightMap, renamed
from age_keras.backbones.lazy import keras, layers
from age_keras.backbones.registry import BackboneSpec, WeightSource, register

EPSILON = 1e-5  # of every normalisation
PATCH = 4


def _norm(x, name, gamma="ones"):
    return layers.LayerNorm(epsilon=EPSILON, gamma_initializer=gamma, name=name)(x)


def _block(x, num_heads, window_size, shift, drop_path, name):
    shortcut, (_, height, width, channels) = x, x.shape
    window = min(window_size, height)
    shift = shift if height > window else 0
    if shift:
        x = layers.CyclicShift(shift, name=f"{name}.shift")(x)
    x = layers.WindowPartition(window, name=f"{name}.windows")(x)
    x = layers.dense(x, 3 * channels, f"{name}.attn.qkv", use_bias=False)
    x = layers.CosineWindowAttention(num_heads, window, height + -height % window, shift, name=f"{name}.attn")(x)
    x = layers.dense(x, channels, f"{name}.attn.proj")
    x = layers.WindowReverse(height, width, name=f"{name}.map")(x)
    if shift:
        x = layers.CyclicShift(-shift, name=f"{name}.unshift")(x)
    # Branches begin as nothing: the norm after each starts with a factor of zero.
    x = shortcut = layers.residual(shortcut, _norm(x, f"{name}.norm1", "zeros"), drop_path, f"{name}.attn.add")
    x = layers.dense(x, 4 * channels, f"{name}.mlp.fc1", layers.gelu)
    x = layers.dense(x, channels, f"{name}.mlp.fc2")
    return layers.residual(shortcut, _norm(x, f"{name}.norm2", "zeros"), drop_path, name)


def _merge_patches(x, name):
    """Four neighbours become one cell of twice the channels; odd sides are padded with zeros."""
    _, height, width, channels = x.shape
    if height % 2 or width % 2:
        x = keras.layers.ZeroPadding2D(((0, height % 2), (0, width % 2)), name=f"{name}.pad")(x)
    x = layers.SpaceToDepth(name=f"{name}.merge")(x)
    x = layers.dense(x, 2 * channels, f"{name}.reduction", use_bias=False)
    return _norm(x, f"{name}.norm")


def swin_v2(
    x,
    image_size,
    embed_dim=96,
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    window_size=8,
    drop_path_rate=0.0,
):
    """The network, with its last norm.

    Args:
        x: Preprocessed pixels, (N, image_size, image_size, 3).
        image_size: The side of the image, a multiple of 4. Windows that do not tile a map are padded with zeros, and a
            map smaller than the window is one window.
        embed_dim: Channels of the first stage; each further stage doubles them.
        depths, num_heads: Blocks and attention heads of the stages.
        window_size: The side of a window, in cells.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0 at the first. Defaults to 0.

    Returns:
        The last map, (N, image_size / 32, image_size / 32, 8 * embed_dim) with four stages, rounded up.
    """
    drop_path = iter(layers.rates(drop_path_rate, sum(depths)))
    x = keras.layers.Conv2D(embed_dim, PATCH, PATCH, name="patch_embed.proj")(x)
    x = _norm(x, "patch_embed.norm")
    for stage, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
        if stage:
            x = _merge_patches(x, f"layers.{stage}.downsample")
        for block in range(depth):
            shift = window_size // 2 if block % 2 else 0
            x = _block(x, heads, window_size, shift, next(drop_path), f"layers.{stage}.blocks.{block}")
    return _norm(x, "norm")


def _timm_names(state: State) -> State:
    """Others' files halve the map at the end of a stage, timm's (and ours) at the start of the next."""
    state = transformers_names.swin_v2(state)
    if "layers.0.downsample.reduction.weight" not in state:
        return state
    return renamed(state, ((r"layers\.(\d+)\.downsample\.", lambda m: f"layers.{int(m[1]) + 1}.downsample."),))


WEIGHT_MAP = WeightMap(
    ignore=(r"(head|classifier)\..*", r".*\.(relative_position_index|relative_coords_table|attn_mask|k_bias)"),
    prepare=_timm_names,
)

REVISIONS = {
    "tiny": "650d02aabf05e8adbd060a739ab39e39f53da639",
    "small": "0c9500fcde4c689e97ff51954debae59c158af0d",
}
WEIGHTS = {
    size: WeightSource(f"timm/swinv2_{size}_window8_256.ms_in1k", "model.safetensors", revision, licence="MIT")
    for size, revision in REVISIONS.items()
}
# The authors' own release: no commit of the hub's repository is known to us.
WEIGHTS["base"] = WeightSource(
    location="https://github.com/SwinTransformer/storage/releases/download/v2.0.0",
    filename="swinv2_base_patch4_window8_256.pth",
    revision="v2.0.0",
    licence="MIT",
)
# Depths, channels of the first stage, heads of the first stage; parameters, GFLOPs, the paper's millions of parameters.
VARIANTS = {
    "tiny": ((2, 2, 6, 2), 96, 3, 27_578_154, 5.94, 28.3),
    "small": ((2, 2, 18, 2), 96, 3, 48_959_418, 11.54, 49.7),
    "base": ((2, 2, 18, 2), 128, 4, 86_893_816, 20.32, 87.9),
}

for _size, (_depths, _width, _heads, _parameters, _gflops, _paper) in VARIANTS.items():
    register(
        BackboneSpec(
            name=f"swinv2_{_size}",
            family="swin_v2",
            image_size=256,
            size_multiple=PATCH,
            cam_layer="norm",
            cut_points=(*(f"layers.{i}.blocks.{j}" for i in range(4) for j in range(_depths[i])), "norm"),
            paper="arXiv:2111.09883",
            parameters=_parameters,
            paper_parameters=_paper,
            gflops=_gflops,
            weights={"imagenet": WEIGHTS[_size]},
            weight_map=WEIGHT_MAP,
        )
    )(functools.partial(swin_v2, embed_dim=_width, depths=_depths, num_heads=[_heads * 2**i for i in range(4)]))
