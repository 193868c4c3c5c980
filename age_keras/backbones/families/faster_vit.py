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


def _norm(x, name):
    return layers.LayerNorm(epsilon=1e-5, name=name)(x)


def _branch_scale(layer_scale, name):
    """The layer that scales a branch; where there is no layer scale, the branch as it is."""
    return (lambda x: x) if layer_scale is None else layers.LayerScale(layer_scale, name=name)


def _transformer(x, drop_path, block, name, scales, prefix="", *, num_heads, mlp_ratio, carriers=0):
    """Pre-norm attention and MLP, under one of `scales` each, on (N, windows, tokens, C); the last layer is `name`."""
    width, part = x.shape[-1], f"{block}.{prefix}"
    branch = layers.dense(_norm(x, f"{part}norm1"), 3 * width, f"{part}attn.qkv")
    branch = layers.CarrierAttention(num_heads, carriers, name=f"{part}attn")(branch)
    branch = layers.dense(branch, width, f"{part}attn.proj")
    x = layers.residual(x, scales[0](branch), drop_path, f"{part}attn.add")
    branch = layers.dense(_norm(x, f"{part}norm2"), round(mlp_ratio * width), f"{part}mlp.fc1")
    branch = layers.dense(keras.layers.Activation(layers.gelu, name=f"{part}mlp.act")(branch), width, f"{part}mlp.fc2")
    return layers.residual(x, scales[1](branch), drop_path, name)


def _window_block(x, drop_path, name, layer_scale, **numbers):
    """Attention within each window."""
    scales = [_branch_scale(layer_scale, f"{name}.gamma{i}") for i in (3, 4)]
    x = layers.CellPositionEmbedding(name=f"{name}.pos_embed")(x)
    return _transformer(x, drop_path, name, name, scales, **numbers)


def _hierarchical_block(x, windows, carrier_size, drop_path, name, scales, **numbers):
    """Attention among the carrier tokens of all windows, then within each window and its own carriers.

    The first two of the four scales are the carriers'.
    """
    count, side, width = carrier_size**2, windows * carrier_size, x.shape[-1]
    # Cropping2D sees (windows, tokens) as rows and columns: the first tokens of each row are the carriers.
    carriers = keras.layers.Cropping2D(((0, 0), (0, x.shape[2] - count)), name=f"{name}.carriers")(x)
    x = keras.layers.Cropping2D(((0, 0), (count, 0)), name=f"{name}.cells")(x)
    x = layers.CellPositionEmbedding(name=f"{name}.pos_embed")(x)
    carriers = layers.WindowReverse(side, side, name=f"{name}.hat_map")(carriers)
    carriers = keras.layers.Reshape((1, side * side, width), name=f"{name}.hat_tokens")(carriers)
    carriers = layers.CellPositionEmbedding(name=f"{name}.hat_pos_embed")(carriers)
    carriers = _transformer(carriers, drop_path, name, f"{name}.hat_mlp.add", scales[:2], "hat_", **numbers)
    carriers = keras.layers.Reshape((side, side, width), name=f"{name}.hat_grid")(carriers)
    carriers = layers.WindowPartition(carrier_size, name=f"{name}.hat_windows")(carriers)
    x = keras.layers.Concatenate(axis=2, name=f"{name}.tokens")([carriers, x])
    return _transformer(x, drop_path, name, name, scales[2:], carriers=count, **numbers)


def _carrier_tokens(x, windows, carrier_size, name):
    """`carrier_size` squared averages of each window's surroundings: (N, windows ** 2, carrier_size ** 2, C)."""
    side, cells = windows * carrier_size, x.shape[1]
    x = keras.layers.DepthwiseConv2D(3, padding="same", name=f"{name}.pos_embed")(x)
    strides = cells // side
    x = keras.layers.AveragePooling2D(cells - (side - 1) * strides, strides, name=f"{name}.to_global_feature.pool")(x)
    return layers.WindowPartition(carrier_size, name=f"{name}.windows")(x)


def _hierarchical_level(x, window_size, carrier_size, blocks, name, layer_scale, propagation, **numbers):
    """A level of windows with carrier tokens; `blocks` gives the name and the drop path rate of each block.

    With `propagation` the carriers are at last added to their windows' cells, under the scale that the last block has
    for its carriers' attention: that one layer is called twice.
    """
    _, height, width, _ = x.shape
    windows, count = height // window_size, carrier_size**2
    carriers = _carrier_tokens(x, windows, carrier_size, f"{name}.global_tokenizer")
    x = layers.WindowPartition(window_size, name=f"{name}.windows")(x)
    x = keras.layers.Concatenate(axis=2, name=f"{name}.tokens")([carriers, x])
    for block, drop_path in blocks.items():
        scales = [_branch_scale(layer_scale, f"{block}.gamma{i}") for i in (1, 2, 3, 4)]
        x = _hierarchical_block(x, windows, carrier_size, drop_path, block, scales, **numbers)
    cells = keras.layers.Cropping2D(((0, 0), (count, 0)), name=f"{name}.cells")(x)
    if propagation:
        carriers = keras.layers.Cropping2D(((0, 0), (0, window_size**2)), name=f"{name}.carriers")(x)
        carriers = layers.CarrierSpread(window_size, name=f"{name}.upsampler")(carriers)
        cells = keras.layers.Add(name=f"{name}.propagated")([cells, scales[0](carriers)])
    return layers.WindowReverse(height, width, name=f"{name}.map")(cells)


def _window_level(x, window_size, blocks, name, **numbers):
    """A level of windows that do not see each other; one window, where it covers the map."""
    _, height, width, _ = x.shape
    x = layers.WindowPartition(window_size, name=f"{name}.windows")(x)
    for block, drop_path in blocks.items():
        x = _window_block(x, drop_path, block, **numbers)
    return layers.WindowReverse(height, width, name=f"{name}.map")(x)


def _convolution_block(x, drop_path, layer_scale, name):
    shortcut, width = x, x.shape[-1]
    x = _batch_norm(_convolution(x, width, f"{name}.conv1", use_bias=True), f"{name}.norm1")
    x = keras.layers.Activation(layers.gelu, name=f"{name}.act1")(x)
    x = _batch_norm(_convolution(x, width, f"{name}.conv2", use_bias=True), f"{name}.norm2")
    return layers.residual(shortcut, _branch_scale(layer_scale, f"{name}.gamma")(x), drop_path, name)


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
        x: Preprocessed pixels, (N, image_size, image_size, 3).
        image_size: The side of the image. Windows must tile the maps of 1 / 16 and 1 / 32 of it, rounded up.
        depths, num_heads: Blocks and attention heads of the four levels; the first two are convolutions.
        window_size: Sides of the four levels' windows, in cells. Defaults to those nearest to 7 that tile the maps.
        ct_size: A window has `ct_size ** 2` carrier tokens. Defaults to 2.
        dim: Channels of the first level, doubled in each further one.
        in_dim: Channels of the stem's first convolution.
        mlp_ratio: Width of an MLP over that of its block.
        hat: Whether a level has carrier tokens. Defaults to the third alone.
        layer_scale, layer_scale_conv: Start of the factors on the branches of attention and of convolution blocks;
            None for no factors.
        do_propagation: Whether a level with carrier tokens ends by adding them to the cells of their windows.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0 at the first. Defaults to 0.

    Returns:
        The last map, (N, image_size / 32, image_size / 32, 8 * dim), rounded up.

    Raises:
        InputError: Windows do not tile this size.
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
            x = _hierarchical_level(x, window_size[level], ct_size, blocks, name, **numbers)
        else:
            x = _window_level(x, window_size[level], blocks, name, **numbers)
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
        size_rule=functools.partial(_check_windows, sizes=None, hat=HAT),
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
