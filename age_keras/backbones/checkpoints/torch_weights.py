"""Published PyTorch weights into our models, by their parameter names; every tensor used exactly once.

The convention that makes this short: **a layer is named as the published module is** (`blocks.0.attn.qkv`), so the name
of a tensor is the layer's name and a leaf:

    Dense                 weight (out, in) -> kernel (in, out);   bias
    Conv2D                weight (O, I, h, w) -> kernel (h, w, I, O);   bias
    DepthwiseConv2D       weight (C, 1, h, w) -> kernel (h, w, C, 1);   bias
    LayerNormalization    weight -> gamma, bias -> beta
    BatchNormalization    the same, and running_mean, running_var
    any other layer       the variable's own name and shape: `add_weight(name="logit_scale")` of the layer
                          `blocks.0.attn` is `blocks.0.attn.logit_scale` (dots are allowed: "cpb_mlp.0.weight")

What differs from that is a family's `WeightMap`, which stands in its `BackboneSpec.weight_map`:

    weight_map = WeightMap(
        ignore=(r"head\\..*", r".*\\.relative_position_index"),          # read by nothing, on purpose
        rename=((r"layers\\.(\\d+)\\.down\\.", r"layers.\\1.downsample."),),  # to the names of our layers
        resize=((r".*bias_table", resize_bias_table_fn),),               # fn(tensor, shape) -> tensor of that shape
        prepare=split_or_merge,                                           # state dict -> state dict, before the rest
    )

Patterns are matched against the whole name. `resize` is asked only where the shape differs; `interpolation.py` has the
schemes. A tensor that it cannot make sense of is listed as one of the wrong shape. Layers without weights may have any
name; a block ends in a layer named as the block (`blocks.0`). A layer that is a whole block (keras-cv's) has a method
`published_variables`: names, variables and layouts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from age_keras.backbones.checkpoints.torch_checkpoint import read_checkpoint
from age_keras.errors import InputError

__all__ = ["WeightMap", "load_torch_weights", "read_checkpoint", "renamed"]

State = dict[str, np.ndarray]
Rename = tuple[tuple[str, str | Callable[[re.Match], str]], ...]
LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}
# Counters and classifiers that no family has a use for.
ALWAYS_IGNORED = (r".*\.num_batches_tracked",)


@dataclass(frozen=True)
class WeightMap:
    """How the names in a family's published checkpoints differ from the names of our layers.

    Attributes:
        ignore: patterns (whole name) of tensors that are left out on purpose: classifiers, buffers.
        rename: (pattern, replacement) pairs, applied in order to the whole of every name.
        resize: (pattern, function) pairs: `function(tensor, shape)` for a tensor whose shape is not the variable's.
        prepare: turns the state dict into one with other tensors (split, merged), before anything else.
        after: changes what else the published networks have otherwise, in the loaded model.
    """

    ignore: tuple[str, ...] = ()
    rename: Rename = ()
    resize: tuple[tuple[str, Callable[[np.ndarray, tuple[int, ...]], np.ndarray]], ...] = ()
    prepare: Callable[[State], State] | None = None
    after: Callable[[keras.Model], None] | None = None


def load_torch_weights(
    model: keras.Model, state: State, weight_map: WeightMap | None = None, source: str = "The checkpoint"
) -> None:
    """Assigns a state dict to a model, all of it or nothing.

    Args:
        model: a flat model whose layers are named as the published modules.
        state: parameter names and arrays, as `read_checkpoint` returns them.
        weight_map: how the names differ. Defaults to not at all.
        source: what the state came from, named in errors.

    Raises:
        InputError: lists the tensors that nothing uses, the variables that no tensor fills, and the wrong shapes.
    """
    weight_map = weight_map or WeightMap()
    state = _mapped(state, weight_map)
    variables = torch_names(model)
    missing = [name for name in variables if name not in state]
    left_over = [name for name in state if name not in variables]
    values, misfits = {}, []
    for name, (variable, layout) in variables.items():
        if name not in state:
            continue
        expected = layout.torch_shape(tuple(variable.shape))
        tensor = _resized(name, state[name], expected, weight_map)
        if tensor.shape != expected:
            misfits.append(f"{name} {state[name].shape} instead of {expected}")
        else:
            values[name] = layout.to_keras(tensor)
    problems = [
        f"{what}: {_listed(which)}"
        for what, which in (("left over", left_over), ("missing", missing), ("of the wrong shape", misfits))
        if which
    ]
    if problems:
        raise InputError(f"{source} does not fit {model.name}. {'; '.join(problems)}. Is it another variant?")
    for name, (variable, _) in variables.items():
        variable.assign(values[name])
    if weight_map.after:
        weight_map.after(model)


@dataclass(frozen=True)
class Layout:
    """The order of a kernel's axes: `axes` takes PyTorch's tensor to Keras' variable."""

    axes: tuple[int, ...] | None = None

    def to_keras(self, tensor: np.ndarray) -> np.ndarray:
        return tensor if self.axes is None else tensor.transpose(self.axes)

    def torch_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if self.axes is None else tuple(shape[self.axes.index(i)] for i in range(len(shape)))


def torch_names(model: keras.Model) -> dict[str, tuple[keras.Variable, Layout]]:
    """The published name of every variable of a model, with the order of its axes."""
    found = {}
    for layer in model.layers:
        if hasattr(layer, "published_variables"):  # a whole block
            found |= layer.published_variables()
            continue
        for variable in layer.variables:
            if isinstance(layer, keras.layers.Layer) and "seed_generator" in variable.path:
                continue
            leaf, layout = _leaf(layer, variable.path.rpartition("/")[2])
            found[f"{layer.name}.{leaf}"] = (variable, layout)
    return found


def _leaf(layer: keras.layers.Layer, variable: str) -> tuple[str, Layout]:
    if isinstance(layer, keras.layers.DepthwiseConv2D) and variable == "kernel":
        return "weight", Layout((2, 3, 0, 1))
    if isinstance(layer, keras.layers.Conv2D) and variable == "kernel":
        return "weight", Layout((2, 3, 1, 0))
    if isinstance(layer, keras.layers.Dense) and variable == "kernel":
        return "weight", Layout((1, 0))
    known = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense, keras.layers.LayerNormalization)
    if isinstance(layer, keras.layers.BatchNormalization):
        return {**LEAVES, **STATISTICS}[variable], Layout()
    return (LEAVES[variable] if isinstance(layer, known) else variable), Layout()


def renamed(state: State, rename: Rename) -> State:
    """The same tensors under other names: each (pattern, replacement) pair applied in order to the whole of every name.

    Raises:
        InputError: two tensors would have one name.
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


def _mapped(state: State, weight_map: WeightMap) -> State:
    if weight_map.prepare:
        state = weight_map.prepare(dict(state))
    ignore = (*ALWAYS_IGNORED, *weight_map.ignore)
    used = {name: value for name, value in state.items() if not any(re.fullmatch(p, name) for p in ignore)}
    return renamed(used, weight_map.rename)


def _resized(name: str, tensor: np.ndarray, shape: tuple[int, ...], weight_map: WeightMap) -> np.ndarray:
    if tensor.shape == shape:
        return tensor
    for pattern, resize in weight_map.resize:
        if re.fullmatch(pattern, name):
            try:
                return resize(tensor, shape)
            except (ValueError, IndexError, TypeError):  # No table of positions at all: it stays as it is, a misfit.
                return tensor
    return tensor


def _listed(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{len(names)} ({', '.join(names[:most])}{more})"
