"""FasterViT: two convolutional levels, then attention in windows that exchange what they see by carrier tokens.

Hatamizadeh et al. 2023, "FasterViT: Fast Vision Transformers with Hierarchical Attention", arXiv:2306.06189. Written
from the paper. The published weights may not be used commercially.

A layer with weights is named after its parameters in the published checkpoints (`levels.2.blocks.0.attn.qkv`), and a
block's last layer after the block (`levels.2.blocks.0`).
"""

import functools
from collections.abc import Sequence

from age_keras.backbones.checkpoints.weight_map import WeightMap
from age_keras.backbones.lazy import keras, layers
from age_keras.backbones.registry import BackboneSpec, WeightSource, register
from age_keras.errors import InputError

HAT = (False, False, True, False)  # which levels have carrier tokens


def _convolution(x, filters, name, strides=1, use_bias=False):
    """A 3x3 convolution whose padding is the same on all sides."""
    if strides > 1:
        x = keras.layers.ZeroPadding2D(1, name=f"{name}.pad")(x)
    padding = "valid" if strides > 1 else "same"
    return keras.layers.Conv2D(filters, 3, strides, padding=padding, use_bias=use_bias, name=name)(x)


def _batch_norm(x, name, epsilon=1e-5):
    return layers.BatchNorm(momentum=0.9, epsilon=epsilon, name=name)(x)


def _stem(x, stem_width, width):
    x = _batch_norm(_convolution(x, stem_width, "patch_embed.conv_down.0", 2), "patch_embed.conv_down.1", 1e-4)
    x = keras.layers.ReLU(name="patch_embed.conv_down.2")(x)
    x = _batch_norm(_convolution(x, width, "patch_embed.conv_down.3", 2), "patch_embed.conv_down.4", 1e-4)
    return keras.layers.ReLU(name="patch_embed.conv_down.5")(x)


def _downsample(x, name):
    """Twice the channels, half the sides (rounded up)."""
    x = layers.LayerNorm(epsilon=1e-6, name=f"{name}.norm")(x)
    return _convolution(x, 2 * x.shape[-1], f"{name}.reduction.0", 2)


def _convolution_block(x, drop_path, layer_scale, name):
    shortcut, width = x, x.shape[-1]
    x = _batch_norm(_convolution(x, width, f"{name}.conv1", use_bias=True), f"{name}.norm1")
    x = keras.layers.Activation(layers.gelu, name=f"{name}.act1")(x)
    x = _batch_norm(_convolution(x, width, f"{name}.conv2", use_bias=True), f"{name}.norm2")
    return layers.residual(shortcut, layers.branch_scale(layer_scale, f"{name}.gamma")(x), drop_path, name)


def _tiling_window(cells: int, hierarchical: bool) -> int | None:
    """The window that tiles a map's side, nearest to the published 7; carrier tokens need two of them or more."""
    most = cells // 2 if hierarchical else cells
    tiling = [window for window in range(4, 15) if cells % window == 0 and window <= most]
    return min(tiling, key=lambda window: (abs(window - 7), -window), default=None)


def window_sizes(image_size: int, hat: Sequence[bool] = HAT) -> tuple[int | None, ...]:
    """The windows of the four levels for a size of image; None where none tiles the level's map.

    The convolutional levels have none: theirs is the published 7. At 224 pixels the others have it too.
    """
    cells = (-(-image_size // 16), -(-image_size // 32))
    return (7, 7, *(_tiling_window(side, carried) for side, carried in zip(cells, hat[2:], strict=True)))


def _check_windows(image_size, sizes, hat) -> tuple[int, ...]:
    """The sizes given, or those that fit the image. Raises `InputError` where windows do not tile the maps."""
    if sizes is None:
        sizes = window_sizes(image_size, hat)
        if None in sizes:
            fitting = [size for size in range(128, 1025, 16) if None not in window_sizes(size, hat)]
            near = min(fitting, key=lambda size: abs(size - image_size))
            raise InputError(f"image_size={image_size}: no windows of 4 to 14 cells tile FasterViT's maps; use {near}.")
        return sizes
    for cells, window, carried in zip((-(-image_size // 16), -(-image_size // 32)), sizes[2:], hat[2:], strict=True):
        if window < 2 or cells % window or (carried and cells == window):
            rule = "two windows or more" if carried else "windows"
            raise InputError(
                f"window_size={window} does not tile a map of {cells} cells in {rule}: leave window_size out."
            )
    return tuple(sizes)


def faster_vit(
    x,
    image_size,
    depths=(2, 3, 6, 5),
    num_heads=(2, 4, 8, 16),
    window_size=None,
    ct_size=2,
    dim=64,
    in_dim=64,
    mlp_ratio=4,
    hat=HAT,
    layer_scale=None,
    layer_scale_conv=None,
    do_propagation=False,
    drop_path_rate=0.0,
):
    """The network, with its last batch normalisation and without pooling.

    Args:
        x: preprocessed pixels, (N, image_size, image_size, 3).
        image_size: the side of the image. Windows must tile the maps of 1 / 16 and 1 / 32 of it, rounded up.
        depths, num_heads: blocks and attention heads of the four levels; the first two are convolutions.
        window_size: sides of the four levels' windows, in cells. Defaults to those nearest to 7 that tile the maps.
        ct_size: a window has `ct_size ** 2` carrier tokens. Defaults to 2.
        dim: channels of the first level, doubled in each further one.
        in_dim: channels of the stem's first convolution.
        mlp_ratio: width of an MLP over that of its block.
        hat: whether a level has carrier tokens. Defaults to the third alone.
        layer_scale, layer_scale_conv: start of the factors on the branches of attention and of convolution blocks;
            None for no factors.
        do_propagation: whether a level with carrier tokens ends by adding them to the cells of their windows.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first. Defaults to 0.

    Returns:
        The last map, (N, image_size / 32, image_size / 32, 8 * dim), rounded up.

    Raises:
        InputError: windows do not tile this size.
    """
    window_size = _check_windows(image_size, window_size, hat)
    drop_path = iter(layers.rates(drop_path_rate, sum(depths)))
    x = _stem(x, in_dim, dim)
    for level, (depth, heads) in enumerate(zip(depths, num_heads, strict=True)):
        name = f"levels.{level}"
        blocks = {f"{name}.blocks.{block}": next(drop_path) for block in range(depth)}
        numbers = {"num_heads": heads, "mlp_ratio": mlp_ratio, "layer_scale": layer_scale}
        if level < 2:
            for block, rate in blocks.items():
                x = _convolution_block(x, rate, layer_scale_conv, block)
        elif hat[level]:
            numbers["propagation"] = do_propagation
            x = layers.hierarchical_level(x, window_size[level], ct_size, blocks, name, **numbers)
        else:
            x = layers.window_level(x, window_size[level], blocks, name, **numbers)
        if level < 3:
            x = _downsample(x, f"{name}.downsample")
    return _batch_norm(x, "norm")


WEIGHT_MAP = WeightMap(
    ignore=(
        r"head\..*",
        r".*\.(relative_bias|relative_coords_table|relative_position_index)",
        # The tokenizer's one convolution stands in checkpoints under two names.
        r".*\.to_global_feature\.pos\..*",
    ),
    rename=((r"\.(gamma\d?)$", r".\1.scale"),),
)


def _spec(size: int, depths, parameters: int, published: float, gflops: float) -> BackboneSpec:
    blocks = [f"levels.{level}.blocks.{block}" for level, depth in enumerate(depths) for block in range(depth)]
    return BackboneSpec(
        name=f"fastervit_{size}",
        family="faster_vit",
        image_size=224,
        min_image_size=128,
        cam_layer="norm",
        cut_points=("patch_embed.conv_down.5", *blocks),
        paper="arXiv:2306.06189",
        parameters=parameters,
        paper_parameters=published,
        gflops=gflops,
        weights={
            "imagenet": WeightSource(
                location="ahatamiz/FasterViT",
                filename=f"fastervit_{size}_224_1k.pth.tar",
                revision="d43fc2311da25568a7ce8e932429d4b453308e59",
                licence="CC-BY-NC-SA-4.0",
                commercial=False,
            )
        },
        weight_map=WEIGHT_MAP,
        note="The published weights are non-commercial. Windows must tile the image: 224, 256, 384, 400, 448, ... fit.",
    )


def _variant(spec: BackboneSpec, **numbers):
    """Registers `faster_vit` with a variant's numbers; all its arguments may still be given to `build_backbone`."""
    return register(spec)(functools.partial(faster_vit, **numbers))


# The published stochastic depth is 0.2, and 0.3 for the largest.
fastervit_0 = _variant(_spec(0, (2, 3, 6, 5), 30_891_840, 31.4, 3.49), depths=(2, 3, 6, 5), dim=64, in_dim=64)
fastervit_1 = _variant(_spec(1, (1, 3, 8, 5), 52_725_696, 53.4, 5.50), depths=(1, 3, 8, 5), dim=80, in_dim=32)
fastervit_2 = _variant(_spec(2, (3, 3, 8, 5), 75_154_816, 75.9, 8.97), depths=(3, 3, 8, 5), dim=96, in_dim=64)
fastervit_3 = _variant(
    _spec(3, (3, 3, 12, 5), 158_522_944, 159.5, 18.71),
    depths=(3, 3, 12, 5),
    dim=128,
    in_dim=64,
    layer_scale=1e-5,
    do_propagation=True,
)
