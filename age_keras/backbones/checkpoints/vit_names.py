"""timm's names of a ViT's parameters, for keras-cv's ViTs, whose blocks are one layer each here.

The variables of such a layer come in a fixed order: the name and the order of axes of each stand here. keras-cv keeps
queries, keys and values apart, each split by heads. Published PyTorch networks have the exact GELU, where keras-cv has
its tanh approximation (as the authors' JAX code): a loaded checkpoint changes that too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from age_keras.backbones.checkpoints.interpolation import resize_position_embedding
from age_keras.backbones.checkpoints.weight_map import Layout, State, WeightMap

if TYPE_CHECKING:
    import keras

_DENSE = (1, 0)
_TO_HEADS, _FROM_HEADS = (2, 0, 1), (1, 2, 0)  # (heads, C / heads, C) -> (C, heads, C / heads), and back
VARIABLES: dict[str, dict[str, Any]] = {
    "PatchingAndEmbedding": {
        "cls_token": None,
        "patch_embed.proj.weight": (2, 3, 1, 0),
        "patch_embed.proj.bias": None,
        "pos_embed": None,
    },
    "TransformerEncoder": {
        **{f"norm{i}.{leaf}": None for i in (1, 2) for leaf in ("weight", "bias")},
        **{f"attn.{part}.{leaf}": axes for part in "qkv" for leaf, axes in (("weight", _TO_HEADS), ("bias", None))},
        "attn.proj.weight": _FROM_HEADS,
        "attn.proj.bias": None,
        **{f"mlp.fc{i}.{leaf}": axes for i in (1, 2) for leaf, axes in (("weight", _DENSE), ("bias", None))},
    },
}


def published_variables(layer: keras.layers.Layer) -> dict[str, tuple[keras.Variable, Layout]]:
    """The published names of the variables of a `KerasCVLayer` of a ViT, with the order of their axes."""
    block = re.match(r"block_(\d+)", layer.name)
    prefix = f"blocks.{block[1]}." if block else ""
    names = VARIABLES[layer.kind].items()
    return {
        prefix + name: (variable, Layout(axes)) for variable, (name, axes) in zip(layer.variables, names, strict=True)
    }


def _split(state: State) -> State:
    """Queries, keys and values, `*.attn.qkv.*`, as three."""
    for name in [name for name in state if ".attn.qkv." in name]:
        if state[name].ndim and len(state[name]) % 3 == 0:  # Otherwise the error lists it.
            for part, tensor in zip("qkv", np.split(state.pop(name), 3), strict=True):
                state[name.replace(".qkv.", f".{part}.")] = tensor
    return state


def _by_heads(tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A square matrix, or a vector, with the axis split that has the heads."""
    return tensor.reshape(shape) if tensor.ndim == len(shape) - 1 and len(set(tensor.shape)) == 1 else tensor


def _exact(model: keras.Model) -> None:
    for layer in model.layers:
        if hasattr(layer, "set_gelu"):
            layer.set_gelu(exact=True)


WEIGHT_MAP = WeightMap(
    ignore=(r"head\..*",),
    prepare=_split,
    resize=(
        (r".*\.attn\..*", _by_heads),
        (r"pos_embed", lambda tokens, shape: resize_position_embedding(tokens, shape[0])[0]),
    ),
    after=_exact,
)
