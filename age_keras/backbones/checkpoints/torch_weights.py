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

What differs from that is a family's `WeightMap`. Layers without weights may have any name; a block ends in a layer
named as the block (`blocks.0`). A layer that is a whole block (keras-cv's) has a method `published_variables`: names,
variables and layouts.
"""

import re

import keras
import numpy as np

from age_keras.backbones.checkpoints.weight_map import Layout, State, WeightMap, renamed
from age_keras.errors import InputError

LEAVES = {"kernel": "weight", "gamma": "weight", "beta": "bias", "bias": "bias"}
STATISTICS = {"moving_mean": "running_mean", "moving_variance": "running_var"}
# Counters and classifiers that no family has a use for.
ALWAYS_IGNORED = (r".*\.num_batches_tracked",)


def load_torch_weights(
    model: keras.Model, state: State, weight_map: WeightMap | None = None, source: str = "The checkpoint"
) -> None:
    """Assigns a state dict to a model, all of it or nothing.

    Args:
        model: A flat model whose layers are named as the published modules.
        state: Parameter names and arrays, as `read_checkpoint` returns them.
        weight_map: How the names differ. Defaults to not at all.
        source: What the state came from, named in errors.

    Raises:
        InputError: Lists the tensors that nothing uses, the variables that no tensor fills, and the wrong shapes.
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
