"""Levels of FasterViT's hierarchical attention: windows, and carrier tokens that speak for them to each other.

Hatamizadeh et al. 2023, arXiv:2306.06189, section 3.2. In a level with carrier tokens a block's tensor is
(N, windows, carriers + cells, C): the carriers of a window stand before its cells, so that one tensor holds all.
"""

import keras
import numpy as np
from keras import layers, ops

from age_keras.backbones.layers.carrier_attention import CarrierAttention, CellPositionEmbedding
from age_keras.backbones.layers.gelu import gelu
from age_keras.backbones.layers.layer_norm import LayerNorm
from age_keras.backbones.layers.layer_scale import LayerScale
from age_keras.backbones.layers.stochastic_depth import residual
from age_keras.backbones.layers.window_attention import WindowPartition, WindowReverse


@keras.saving.register_keras_serializable("age_keras")
class CarrierSpread(keras.layers.Layer):
    """Gives each cell of a window the carrier token nearest to it: (N, windows, carriers, C) -> (N, windows, cells, C).

    Args:
        window_size: the side of a window, in cells.
    """

    def __init__(self, window_size, **kwargs):
        super().__init__(**kwargs)
        self.window_size = int(window_size)

    def build(self, input_shape):
        side = round(input_shape[2] ** 0.5)
        nearest = np.arange(self.window_size) * side // self.window_size
        self.nearest = (nearest[:, None] * side + nearest).reshape(-1).astype("int32")

    def call(self, x):
        return ops.take(x, self.nearest, axis=2)

    def compute_output_shape(self, input_shape):
        n, windows, _, channels = input_shape
        return (n, windows, self.window_size**2, channels)

    def get_config(self):
        return {**super().get_config(), "window_size": self.window_size}


def _layer_norm(x, name):
    return LayerNorm(epsilon=1e-5, name=name)(x)


def _dense(x, units, name, activation=None):
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    return layers.Dense(units, activation, kernel_initializer=initializer, name=name)(x)


def branch_scale(layer_scale, name):
    """The layer that scales a branch; where there is no layer scale, the branch as it is."""
    return (lambda x: x) if layer_scale is None else LayerScale(layer_scale, name=name)


def _transformer(x, drop_path, block, name, scales, prefix="", *, num_heads, mlp_ratio, carriers=0):
    """Pre-norm attention and MLP, under one of `scales` each, on (N, windows, tokens, C); the last layer is `name`."""
    width, part = x.shape[-1], f"{block}.{prefix}"
    branch = _dense(_layer_norm(x, f"{part}norm1"), 3 * width, f"{part}attn.qkv")
    branch = CarrierAttention(num_heads, carriers, name=f"{part}attn")(branch)
    branch = _dense(branch, width, f"{part}attn.proj")
    x = residual(x, scales[0](branch), drop_path, f"{part}attn.add")
    branch = _dense(_layer_norm(x, f"{part}norm2"), round(mlp_ratio * width), f"{part}mlp.fc1")
    branch = _dense(layers.Activation(gelu, name=f"{part}mlp.act")(branch), width, f"{part}mlp.fc2")
    return residual(x, scales[1](branch), drop_path, name)


def _window_block(x, drop_path, name, layer_scale, **numbers):
    """Attention within each window."""
    scales = [branch_scale(layer_scale, f"{name}.gamma{i}") for i in (3, 4)]
    x = CellPositionEmbedding(name=f"{name}.pos_embed")(x)
    return _transformer(x, drop_path, name, name, scales, **numbers)


def _hierarchical_block(x, windows, carrier_size, drop_path, name, scales, **numbers):
    """Attention among the carrier tokens of all windows, then within each window and its own carriers.

    The first two of the four scales are the carriers'.
    """
    count, side, width = carrier_size**2, windows * carrier_size, x.shape[-1]
    # Cropping2D sees (windows, tokens) as rows and columns: the first tokens of each row are the carriers.
    carriers = layers.Cropping2D(((0, 0), (0, x.shape[2] - count)), name=f"{name}.carriers")(x)
    x = layers.Cropping2D(((0, 0), (count, 0)), name=f"{name}.cells")(x)
    x = CellPositionEmbedding(name=f"{name}.pos_embed")(x)
    carriers = WindowReverse(side, side, name=f"{name}.hat_map")(carriers)
    carriers = layers.Reshape((1, side * side, width), name=f"{name}.hat_tokens")(carriers)
    carriers = CellPositionEmbedding(name=f"{name}.hat_pos_embed")(carriers)
    carriers = _transformer(carriers, drop_path, name, f"{name}.hat_mlp.add", scales[:2], "hat_", **numbers)
    carriers = layers.Reshape((side, side, width), name=f"{name}.hat_grid")(carriers)
    carriers = WindowPartition(carrier_size, name=f"{name}.hat_windows")(carriers)
    x = layers.Concatenate(axis=2, name=f"{name}.tokens")([carriers, x])
    return _transformer(x, drop_path, name, name, scales[2:], carriers=count, **numbers)


def _carrier_tokens(x, windows, carrier_size, name):
    """`carrier_size` squared averages of each window's surroundings: (N, windows ** 2, carrier_size ** 2, C)."""
    side, cells = windows * carrier_size, x.shape[1]
    x = layers.DepthwiseConv2D(3, padding="same", name=f"{name}.pos_embed")(x)
    strides = cells // side
    x = layers.AveragePooling2D(cells - (side - 1) * strides, strides, name=f"{name}.to_global_feature.pool")(x)
    return WindowPartition(carrier_size, name=f"{name}.windows")(x)


def hierarchical_level(x, window_size, carrier_size, blocks, name, layer_scale, propagation, **numbers):
    """A level of windows with carrier tokens; `blocks` gives the name and the drop path rate of each block.

    With `propagation` the carriers are at last added to their windows' cells, under the scale that the last block has
    for its carriers' attention: that one layer is called twice.
    """
    _, height, width, _ = x.shape
    windows, count = height // window_size, carrier_size**2
    carriers = _carrier_tokens(x, windows, carrier_size, f"{name}.global_tokenizer")
    x = WindowPartition(window_size, name=f"{name}.windows")(x)
    x = layers.Concatenate(axis=2, name=f"{name}.tokens")([carriers, x])
    for block, drop_path in blocks.items():
        scales = [branch_scale(layer_scale, f"{block}.gamma{i}") for i in (1, 2, 3, 4)]
        x = _hierarchical_block(x, windows, carrier_size, drop_path, block, scales, **numbers)
    cells = layers.Cropping2D(((0, 0), (count, 0)), name=f"{name}.cells")(x)
    if propagation:
        carriers = layers.Cropping2D(((0, 0), (0, window_size**2)), name=f"{name}.carriers")(x)
        carriers = CarrierSpread(window_size, name=f"{name}.upsampler")(carriers)
        cells = layers.Add(name=f"{name}.propagated")([cells, scales[0](carriers)])
    return WindowReverse(height, width, name=f"{name}.map")(cells)


def window_level(x, window_size, blocks, name, **numbers):
    """A level of windows that do not see each other; one window, where it covers the map."""
    _, height, width, _ = x.shape
    x = WindowPartition(window_size, name=f"{name}.windows")(x)
    for block, drop_path in blocks.items():
        x = _window_block(x, drop_path, block, **numbers)
    return WindowReverse(height, width, name=f"{name}.map")(x)
