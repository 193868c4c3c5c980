"""Levels of FasterViT's hierarchical attention: windows, and carrier tokens that speak for them to each other.

Hatamizadeh et al. 2023, arXiv:2306.06189, section 3.2. In a level with carrier tokens a block's tensor is
(N, windows, carriers + cells, C): the carriers of a window stand before its cells, so that one tensor holds all.
"""

import keras
from keras import layers

from age_keras.backbones.carrier_attention import CarrierAttention, CellPositionEmbedding
from age_keras.backbones.layer_scale import LayerScale
from age_keras.backbones.stochastic_depth import residual
from age_keras.backbones.window_attention import WindowPartition, WindowReverse


def _layer_norm(x, name):
    return layers.LayerNormalization(epsilon=1e-5, name=name)(x)


def _dense(x, units, name, activation=None):
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    return layers.Dense(units, activation, kernel_initializer=initializer, name=name)(x)


def scaled(x, layer_scale, name):
    """`x` under a layer scale, where there is one."""
    return x if layer_scale is None else LayerScale(layer_scale, name=name)(x)


def _transformer(x, drop_path, block, name, prefix="", gammas=(3, 4), *, num_heads, mlp_ratio, layer_scale, carriers=0):
    """Pre-norm attention and MLP on (N, windows, tokens, C); `name` is the last layer's."""
    width, part = x.shape[-1], f"{block}.{prefix}"
    branch = _dense(_layer_norm(x, f"{part}norm1"), 3 * width, f"{part}attn.qkv")
    branch = CarrierAttention(num_heads, carriers, name=f"{part}attn")(branch)
    branch = scaled(_dense(branch, width, f"{part}attn.proj"), layer_scale, f"{block}.gamma{gammas[0]}")
    x = residual(x, branch, drop_path, f"{part}attn.add")
    branch = _dense(_layer_norm(x, f"{part}norm2"), round(mlp_ratio * width), f"{part}mlp.fc1")
    branch = _dense(layers.Activation("gelu", name=f"{part}mlp.act")(branch), width, f"{part}mlp.fc2")
    return residual(x, scaled(branch, layer_scale, f"{block}.gamma{gammas[1]}"), drop_path, name)


def _window_block(x, drop_path, name, **numbers):
    """Attention within each window."""
    x = CellPositionEmbedding(name=f"{name}.pos_embed")(x)
    return _transformer(x, drop_path, name, name, **numbers)


def _hierarchical_block(x, windows, carrier_size, drop_path, name, **numbers):
    """Attention among the carrier tokens of all windows, then within each window and its own carriers."""
    count, side, width = carrier_size**2, windows * carrier_size, x.shape[-1]
    # Cropping2D sees (windows, tokens) as rows and columns: the first tokens of each row are the carriers.
    carriers = layers.Cropping2D(((0, 0), (0, x.shape[2] - count)), name=f"{name}.carriers")(x)
    x = layers.Cropping2D(((0, 0), (count, 0)), name=f"{name}.cells")(x)
    x = CellPositionEmbedding(name=f"{name}.pos_embed")(x)
    carriers = WindowReverse(side, side, name=f"{name}.hat_map")(carriers)
    carriers = layers.Reshape((1, side * side, width), name=f"{name}.hat_tokens")(carriers)
    carriers = CellPositionEmbedding(name=f"{name}.hat_pos_embed")(carriers)
    carriers = _transformer(carriers, drop_path, name, f"{name}.hat_mlp.add", "hat_", (1, 2), **numbers)
    carriers = layers.Reshape((side, side, width), name=f"{name}.hat_grid")(carriers)
    carriers = WindowPartition(carrier_size, name=f"{name}.hat_windows")(carriers)
    x = layers.Concatenate(axis=2, name=f"{name}.tokens")([carriers, x])
    return _transformer(x, drop_path, name, name, carriers=count, **numbers)


def _carrier_tokens(x, windows, carrier_size, name):
    """`carrier_size` squared averages of each window's surroundings: (N, windows ** 2, carrier_size ** 2, C)."""
    side, cells = windows * carrier_size, x.shape[1]
    x = layers.DepthwiseConv2D(3, padding="same", name=f"{name}.pos_embed")(x)
    strides = cells // side
    x = layers.AveragePooling2D(cells - (side - 1) * strides, strides, name=f"{name}.to_global_feature.pool")(x)
    return WindowPartition(carrier_size, name=f"{name}.windows")(x)


def hierarchical_level(x, window_size, carrier_size, blocks, name, **numbers):
    """A level of windows with carrier tokens; `blocks` gives the name and the drop path rate of each block."""
    _, height, width, _ = x.shape
    windows = height // window_size
    carriers = _carrier_tokens(x, windows, carrier_size, f"{name}.global_tokenizer")
    x = WindowPartition(window_size, name=f"{name}.windows")(x)
    x = layers.Concatenate(axis=2, name=f"{name}.tokens")([carriers, x])
    for block, drop_path in blocks.items():
        x = _hierarchical_block(x, windows, carrier_size, drop_path, block, **numbers)
    x = layers.Cropping2D(((0, 0), (carrier_size**2, 0)), name=f"{name}.cells")(x)
    return WindowReverse(height, width, name=f"{name}.map")(x)


def window_level(x, window_size, blocks, name, **numbers):
    """A level of windows that do not see each other; one window, where it covers the map."""
    _, height, width, _ = x.shape
    x = WindowPartition(window_size, name=f"{name}.windows")(x)
    for block, drop_path in blocks.items():
        x = _window_block(x, drop_path, block, **numbers)
    return WindowReverse(height, width, name=f"{name}.map")(x)
