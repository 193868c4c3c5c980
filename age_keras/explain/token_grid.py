"""Which layers a map is read from, and how their outputs become grids over the patch.

A convolution's output is a grid already. A transformer's tokens (N, T, C) fold into a square grid, row by row, after
the class tokens, which are no place on the page.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf
from tf_keras_vis.utils.model_modifiers import ExtractIntermediateLayerForGradcam

from age_keras.backbones.registry import BackboneSpec
from age_keras.errors import InputError


def fold_tokens(x: tf.Tensor, class_tokens: int = 0) -> tf.Tensor:
    """Tokens (N, class_tokens + h * h, C) to a grid (N, h, h, C); a map (N, h, w, C) stays as it is.

    Raises:
        ValueError: The tokens do not fill a square.
    """
    if x.shape.rank == 4:
        return x
    side = _grid_side(x.shape, class_tokens)
    if not side:
        raise ValueError(f"tokens must fill a square grid. Received: shape={x.shape}, class_tokens={class_tokens}")
    return tf.reshape(x[:, class_tokens:], (-1, side, side, x.shape[-1]))


def _grid_side(shape: Sequence[int | None], class_tokens: int) -> int:
    """Cells on a side of the grid that a layer's output makes, or 0 where it makes none."""
    if len(shape) == 4:
        return shape[1] or 0 if shape[1] == shape[2] else 0
    if len(shape) != 3 or not shape[1] or shape[1] <= class_tokens:
        return 0
    side = round((shape[1] - class_tokens) ** 0.5)
    return side if side * side == shape[1] - class_tokens else 0


def cam_layers(model: keras.Model, spec: BackboneSpec, count: int = 1) -> tuple[str, ...]:
    """The layers to explain a model by, the deepest last.

    The deepest is the registry's own, or, where only the class token is pooled, the block before it: the last block's
    other tokens have no part in the answer. The others are the ends of the deeper blocks at twice, four times, ... the
    resolution; where all blocks have one resolution (plain ViTs), blocks at even distances below.

    Args:
        model: Built on this backbone.
        spec: The backbone's facts.
        count: How many layers, at most. Defaults to 1.

    Raises:
        InputError: The model has not this backbone's layers.
    """
    present = {layer.name for layer in model.layers}
    if spec.cam_layer not in present:
        raise InputError(f"The model {model.name} has no layer {spec.cam_layer}: it is no {spec.name}.")
    sides = {name: _side(model, name, spec) for name in spec.cut_points if name in present}
    sides = {name: side for name, side in sides.items() if side}
    last = spec.cam_layer
    if "head_token" in present:
        blocks = [name for name in sides if "block" in name]
        last = blocks[-2] if len(blocks) > 1 else last
        sides = {name: side for name, side in sides.items() if name in blocks[:-1]}
    if count <= 1:
        return (last,)
    deepest = _side(model, last, spec)
    finer = {side: name for name, side in sides.items() if side > deepest}  # the last name of each side stays
    others = [finer[side] for side in sorted(finer)][: count - 1]
    if not others:
        below = [name for name in sides if name != last]
        step = max(1, len(below) // count)
        others = below[::-1][step - 1 :: step][: count - 1]
    return (*reversed(others), last)


def _side(model: keras.Model, name: str, spec: BackboneSpec) -> int:
    """Cells on a side of a layer's grid; 0 where its output is no whole grid over the patch (windows, say)."""
    shape = model.get_layer(name).output.shape
    side = _grid_side(shape, spec.class_tokens if spec.tokens else 0)
    image = model.inputs[0].shape[1]
    return side if 1 < side <= image and abs(image / side - round(image / side)) < 0.2 * image / side else 0


def tapped(model: keras.Model, layers: Sequence[str]) -> keras.Model:
    """The model with the outputs of some layers beside its own: one new model for any number of calls.

    tf-keras-vis' own modifier makes it where the model is flat. Where a layer lies in a nested model, as
    `keras.applications` does when it is called like a layer, the modifier's graph is not connected under Keras 3: the
    nested model is then called with its tap at its place in a copy of the outer graph that shares all layers.

    Args:
        model: Functional or sequential.
        layers: Names, of the model's own layers or of those of nested models.

    Returns:
        A model whose outputs are the model's own output and then each layer's.

    Raises:
        InputError: There is no such layer.
    """
    for name in layers:
        own = {layer.name for layer in model.layers}
        if name in own:
            model = ExtractIntermediateLayerForGradcam(name, seek_conv_layer=False)(model)
        else:
            model = _tap_nested(model, name)
    return model


def _tap_nested(model: keras.Model, name: str) -> keras.Model:
    holder = next((layer for layer in model.layers if isinstance(layer, keras.Model) and _holds(layer, name)), None)
    if holder is None:
        raise InputError(f"The model {model.name} has no layer {name}.")
    inner, taps = tapped(holder, [name]), []

    def call(layer, *args, **kwargs):
        if layer is not holder:
            return layer(*args, **kwargs)
        *outputs, tap = inner(*args, **kwargs)
        taps.append(tap)
        return outputs[0] if len(outputs) == 1 else outputs

    outer = model._functional if isinstance(model, keras.Sequential) else model  # a Sequential's own graph
    copy = keras.models.clone_model(outer, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(copy.inputs, [*copy.outputs, taps[-1]])


def _holds(model: keras.Model, name: str) -> bool:
    return any(layer.name == name or (isinstance(layer, keras.Model) and _holds(layer, name)) for layer in model.layers)
