"""keras-cv's layers as layers that save, load and keep to a dtype policy; and keras-cv's own weights.

This is the only file that imports keras-cv, which is frozen at 0.9 upstream: the day it no longer imports costs this
file and the family `families/keras_cv.py`, and nothing else.
"""

import contextlib
import importlib

import keras
import numpy as np

from age_keras.backbones.checkpoints import vit_names
from age_keras.backbones.checkpoints.interpolation import resize_position_embedding
from age_keras.backbones.layers.gelu import gelu
from age_keras.errors import InputError

SOURCES = {
    "PatchingAndEmbedding": "keras_cv.src.layers.vit_layers",
    "TransformerEncoder": "keras_cv.src.layers.transformer_encoder",
    "OverlappingPatchingAndEmbedding": "keras_cv.src.layers.overlapping_patching_embedding",
    "HierarchicalTransformerEncoder": "keras_cv.src.layers.hierarchical_transformer_encoder",
}


def _import(module: str):
    """A module of keras-cv, imported only where it is used: it takes seconds."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"keras-cv cannot be imported ({error}): install keras-cv 0.9. keras-hub replaces it."
        ) from error


@keras.saving.register_keras_serializable("age_keras")
class KerasCVLayer(keras.layers.Layer):
    """A layer of keras-cv that can be saved and loaded, and keeps to its own dtype policy.

    keras-cv's layers build their weights at the first call and some have a configuration that their constructor does
    not take: this one builds them in `build`, from the arguments they were made with.

    Args:
        kind: The name of the layer's class, a key of `SOURCES`.
        options: Keyword arguments of that class.
        output_shape: Without the batch.
        exact_gelu: In a ViT's block, PyTorch's exact GELU for keras-cv's approximation. Defaults to False.
    """

    def __init__(self, kind, options, output_shape, exact_gelu=False, **kwargs):
        super().__init__(**kwargs)
        if kind not in SOURCES:
            raise ValueError(f"kind must be one of {', '.join(SOURCES)}. Received: kind={kind}")
        self.kind, self.options, self.shape_out = kind, dict(options), tuple(output_shape)
        with self._own_policy():
            self.inner = getattr(_import(SOURCES[kind]), kind)(**self.options, name=kind)
        self.set_gelu(exact_gelu)

    def set_gelu(self, exact: bool) -> None:
        """Chooses the GELU, also of a layer that is part of a model."""
        self.exact_gelu = exact
        if self.kind == "TransformerEncoder":
            self.inner.activation = gelu if exact else keras.activations.gelu

    def save_own_variables(self, store):
        """The weights belong to the inner layer; a file of them says which GELU they were trained with, too."""
        store["exact_gelu"] = np.array(self.exact_gelu)

    def load_own_variables(self, store):
        if "exact_gelu" in store:
            self.set_gelu(bool(np.array(store["exact_gelu"])))

    @contextlib.contextmanager
    def _own_policy(self):
        """keras-cv makes its inner layers under the global policy."""
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.dtype_policy)
        try:
            yield
        finally:
            keras.config.set_dtype_policy(before)

    def build(self, input_shape):
        with self._own_policy():
            self.inner(keras.KerasTensor((None, *input_shape[1:]), dtype=self.compute_dtype))

    def call(self, x):
        with self._own_policy():  # some of its layers are made anew in each call
            return keras.ops.reshape(self.inner(x), (-1, *self.shape_out))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.shape_out)

    @property
    def attends_to_all(self):
        """Whether every token attends to every other: in a ViT's blocks."""
        return self.kind == "TransformerEncoder"

    def attention_weights(self, x):
        """The weights of a ViT block's attention for its input (N, T, C): float32 (N, heads, T, T), rows sum to 1."""
        x = self.inner.layer_norm1(x)
        return keras.ops.cast(self.inner.attn(x, x, return_attention_scores=True)[1], "float32")

    def published_variables(self):
        """See `torch_weights.torch_names`."""
        return vit_names.published_variables(self)

    def get_config(self):
        own = {"kind": self.kind, "options": self.options, "output_shape": self.shape_out}
        return {**super().get_config(), **own, "exact_gelu": self.exact_gelu}


def load_published(model: keras.Model, builder: str) -> None:
    """Copies keras-cv's own ImageNet weights into a model; position embeddings are interpolated.

    Args:
        model: A ViT or MiT of `families/keras_cv.py`.
        builder: The name of keras-cv's function for this ViT (`ViTTiny16`), or the MiT's name (`mit_b0`).
    """
    if builder.startswith("mit"):
        module = _import("keras_cv.src.models.backbones.mix_transformer.mix_transformer_backbone")
        published = module.MiTBackbone.from_preset(f"{builder}_imagenet")
    else:
        build = getattr(_import("keras_cv.src.models.legacy.vit"), builder)
        published = build(include_rescaling=False, include_top=False, weights="imagenet", input_shape=(224, 224, 3))
    copy_weights(published, model)


def copy_weights(published: keras.Model, model: keras.Model) -> None:
    """Copies the weights of keras-cv's own model into ours, layer by layer."""
    theirs, ours = ([layer for layer in m.layers if _arrays(layer)] for m in (published, model))
    if not theirs or not ours:
        raise ValueError(f"There is nothing to copy. Received: published={published.name}, model={model.name}")
    for source, layer in zip(theirs, ours, strict=True):
        for variable, target in zip(_arrays(source), _arrays(layer), strict=True):
            value = keras.ops.convert_to_numpy(variable)
            if value.shape != tuple(target.shape) and value.ndim == 2:  # position embeddings of another grid
                value = resize_position_embedding(value[None], target.shape[0])[0]
            target.assign(value)


def _arrays(layer: keras.layers.Layer) -> list[keras.Variable]:
    """A layer's weights without the state of its random numbers."""
    return [v for v in layer.variables if keras.backend.is_float_dtype(v.dtype)]
