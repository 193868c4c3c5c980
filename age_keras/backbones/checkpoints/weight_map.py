"""How the names in published PyTorch checkpoints differ from the names of our layers: facts, without Keras.

What differs from that is a family's `WeightMap`, which stands in its `BackboneSpec.weight_map`:

    weight_map = WeightMap(
        ignore=(r"head\\..*", r".*\\.relative_position_index"),          # read by nothing, on purpose
        rename=((r"layers\\.(\\d+)\\.down\\.", r"layers.\\1.downsample."),),  # to the names of our layers
        resize=((r".*bias_table", resize_bias_table_fn),),               # fn(tensor, shape) -> tensor of that shape
        prepare=split_or_merge,                                           # state dict -> state dict, before the rest
    )

Patterns are matched against the whole name. `resize` is asked only where the shape differs; `interpolation.py` has the
schemes. A tensor that it cannot make sense of is listed as one of the wrong shape.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from age_keras.errors import InputError

State = dict[str, np.ndarray]
Rename = tuple[tuple[str, str | Callable[[re.Match], str]], ...]


@dataclass(frozen=True)
class WeightMap:
    """How the names in a family's published checkpoints differ from the names of our layers.

    Attributes:
        ignore: Patterns (whole name) of tensors that are left out on purpose: classifiers, buffers.
        rename: (pattern, replacement) pairs, applied in order to the whole of every name.
        resize: (pattern, function) pairs: `function(tensor, shape)` for a tensor whose shape is not the variable's.
        prepare: Turns the state dict into one with other tensors (split, merged), before anything else.
        after: Changes what else the published networks have otherwise, in the loaded model.
    """

    ignore: tuple[str, ...] = ()
    rename: Rename = ()
    resize: tuple[tuple[str, Callable[[np.ndarray, tuple[int, ...]], np.ndarray]], ...] = ()
    prepare: Callable[[State], State] | None = None
    after: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Layout:
    """The order of a kernel's axes: `axes` takes PyTorch's tensor to Keras' variable."""

    axes: tuple[int, ...] | None = None

    def to_keras(self, tensor: np.ndarray) -> np.ndarray:
        return tensor if self.axes is None else tensor.transpose(self.axes)

    def torch_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self.axes is None else tuple(shape[self.axes.index(i)] for i in range(len(shape)))


def renamed(state: State, rename: Rename) -> State:
    """The same tensors under other names: each (pattern, replacement) pair applied in order to the whole of every name.

    Raises:
        InputError: Two tensors would have one name.
    """
    new_names = {}
    for name in state:
        new = name
        for pattern, replacement in rename:
            new = re.sub(pattern, replacement, new)
        if new in new_names:
            raise InputError(f"Two tensors of the checkpoint would both be {new}: {new_names[new]} and {name}.")
        new_names[new] = name
    return {new: state[name] for new, name in new_names.items()}
