"""keras-cv's vision transformers (ViT) and mix transformers (MiT), flat on our own input.

Dosovitskiy et al. 2020, arXiv:2010.11929; Xie et al. 2021, "SegFormer", arXiv:2105.15203.

keras-cv is frozen at 0.9: keras-hub (`keras_hub.models.ViTBackbone`, `MiTBackbone`) replaces it. All that touches it is
in this file, so that the day it no longer imports costs this file and nothing else; the rest of the registry goes on
without it. A block is one layer here, `block_0` or `hierarchical_encoder_0_0`. Nothing is downloaded unless the
weights `imagenet` are asked for: those of the ViTs come from keras-cv's storage, MiT-B0's from Kaggle.
"""

import contextlib
import functools
import importlib

import keras
from keras import layers

from age_keras.backbones.checkpoints import vit_names
from age_keras.backbones.checkpoints.interpolation import resize_position_embedding
from age_keras.backbones.layers.gelu import gelu
from age_keras.backbones.layers.stochastic_depth import StochasticDepth, rates
from age_keras.backbones.registry import BackboneSpec, WeightSource, register
from age_keras.errors import InputError

REPLACEMENT = "keras-cv is frozen upstream; keras-hub replaces it."
SOURCES = {
    "PatchingAndEmbedding": "keras_cv.src.layers.vit_layers",
    "TransformerEncoder": "keras_cv.src.layers.transformer_encoder",
    "OverlappingPatchingAndEmbedding": "keras_cv.src.layers.overlapping_patching_embedding",
    "HierarchicalTransformerEncoder": "keras_cv.src.layers.hierarchical_transformer_encoder",
}
MIT_HEADS = (1, 2, 5, 8)
MIT_REDUCTIONS = (8, 4, 2, 1)
EPSILON = 1e-6


def _import(module: str):
    """A module of keras-cv, imported only where it is used: it takes seconds."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"keras-cv cannot be imported ({error}): install keras-cv 0.9. {REPLACEMENT}") from error


@keras.saving.register_keras_serializable("age_keras")
class KerasCVLayer(keras.layers.Layer):
    """A layer of keras-cv that can be saved and loaded, and keeps to its own dtype policy.

    keras-cv's layers build their weights at the first call and some have a configuration that their constructor does
    not take: this one builds them in `build`, from the arguments they were made with.

    Args:
        kind: the name of the layer's class, a key of `SOURCES`.
        options: keyword arguments of that class.
        output_shape: without the batch.
        exact_gelu: in a ViT's block, PyTorch's exact GELU for keras-cv's approximation. Defaults to False.
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

    def attention_weights(self, x):
        """The weights of a ViT block's attention for its input (N, T, C): (N, heads, T, T), rows sum to 1."""
        x = self.inner.layer_norm1(x)
        return self.inner.attn(x, x, return_attention_scores=True)[1]

    def published_variables(self):
        """See `torch_weights.torch_names`."""
        return vit_names.published_variables(self)

    def get_config(self):
        own = {"kind": self.kind, "options": self.options, "output_shape": self.shape_out}
        return {**super().get_config(), **own, "exact_gelu": self.exact_gelu}


def vit(x, image_size, patch_size=16, project_dim=768, num_heads=12, depth=12, drop_path_rate=0.0, exact_gelu=False):
    """keras-cv's ViT.

    Args:
        x: preprocessed pixels, (N, image_size, image_size, 3).
        image_size: the side of the image, a multiple of `patch_size`.
        patch_size: the side of a patch in pixels.
        project_dim, num_heads, depth: channels, attention heads and blocks.
        drop_path_rate: stochastic depth of the last block (whole blocks); grows linearly from 0. Defaults to 0.
        exact_gelu: see `KerasCVLayer`; weights of PyTorch set it. Defaults to False.

    Returns:
        Tokens, (N, 1 + (image_size / patch_size) ** 2, project_dim), the class token first.
    """
    shape = (1 + (image_size // patch_size) ** 2, project_dim)
    options = {"project_dim": project_dim, "patch_size": patch_size}
    x = KerasCVLayer("PatchingAndEmbedding", options, shape, name="patch_embed")(x)
    options = {"project_dim": project_dim, "num_heads": num_heads, "mlp_dim": 4 * project_dim}
    options |= {"mlp_dropout": 0.0, "attention_dropout": 0.0}
    for block, rate in enumerate(rates(drop_path_rate, depth)):
        name = f"block_{block}.encoder" if rate else f"block_{block}"
        y = KerasCVLayer("TransformerEncoder", options, shape, exact_gelu, name=name)(x)
        if rate:
            y = layers.Subtract(name=f"block_{block}.branch")([y, x])
            y = StochasticDepth(rate, name=f"block_{block}.drop_path")(y)
            y = layers.Add(name=f"block_{block}")([x, y])
        x = y
    return layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)


def mit(x, image_size, depths=(2, 2, 2, 2), embedding_dims=(32, 64, 160, 256), drop_path_rate=0.0):
    """keras-cv's MiT, the encoder of SegFormer.

    Args:
        x: preprocessed pixels, (N, image_size, image_size, 3).
        image_size: the side of the image, a multiple of 32.
        depths, embedding_dims: blocks and channels of the four stages.
        drop_path_rate: stochastic depth of the last block; grows linearly from 0 at the first. Defaults to 0.

    Returns:
        The last map, (N, image_size / 32, image_size / 32, embedding_dims[-1]).
    """
    drop_path = iter(rates(drop_path_rate, sum(depths)))
    side = image_size
    for stage, (depth, width) in enumerate(zip(depths, embedding_dims, strict=True)):
        stride = 2 if stage else 4
        side //= stride
        shape = (side * side, width)
        options = {"project_dim": width, "patch_size": 3 if stage else 7, "stride": stride}
        x = KerasCVLayer("OverlappingPatchingAndEmbedding", options, shape, name=f"patch_and_embed_{stage}")(x)
        for block in range(depth):
            options = {"project_dim": width, "num_heads": MIT_HEADS[stage], "sr_ratio": MIT_REDUCTIONS[stage]}
            options["drop_prob"] = next(drop_path)
            name = f"hierarchical_encoder_{stage}_{block}"
            x = KerasCVLayer("HierarchicalTransformerEncoder", options, shape, name=name)(x)
        x = layers.LayerNormalization(name=f"norm_{stage}")(x)
        x = layers.Reshape((side, side, width), name=f"output_level_{stage}")(x)
    return x


def load_published(model: keras.Model, spec: BackboneSpec) -> None:
    """Copies keras-cv's own ImageNet weights into a model of the same variant; position embeddings are interpolated."""
    if spec.family == "mit":
        module = _import("keras_cv.src.models.backbones.mix_transformer.mix_transformer_backbone")
        published = module.MiTBackbone.from_preset(f"{spec.name}_imagenet")
    else:
        builder = getattr(_import("keras_cv.src.models.legacy.vit"), VITS[spec.name][0])
        published = builder(include_rescaling=False, include_top=False, weights="imagenet", input_shape=(224, 224, 3))
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


IMAGENET = {"imagenet": WeightSource(location="keras-cv")}
# keras-cv's builder; patch size, channels, heads; parameters, GFLOPs, the papers' millions of them (tiny and small:
# arXiv:2106.10270); whether weights are published.
VITS = {
    "vit_tiny_16": ("ViTTiny16", (16, 192, 3), 5_524_416, 1.25, 5.8, True),
    "vit_tiny_32": ("ViTTiny32", (32, 192, 3), 5_938_560, 0.31, 0.0, False),
    "vit_small_16": ("ViTS16", (16, 384, 6), 21_665_664, 4.60, 22.2, True),
    "vit_small_32": ("ViTS32", (32, 384, 6), 22_493_952, 1.14, 0.0, True),
    "vit_base_16": ("ViTB16", (16, 768, 12), 85_798_656, 17.56, 86.0, True),
    "vit_base_32": ("ViTB32", (32, 768, 12), 87_455_232, 4.41, 0.0, True),
}
# Depths, channels; parameters, GFLOPs, the paper's millions of parameters; whether weights are published.
MITS = {
    "mit_b0": ((2, 2, 2, 2), (32, 64, 160, 256), 3_319_392, 0.45, 3.7, True),
    "mit_b1": ((2, 2, 2, 2), (64, 128, 320, 512), 13_151_424, 1.68, 14.0, False),
    "mit_b2": ((3, 4, 6, 3), (64, 128, 320, 512), 24_196_288, 3.27, 25.4, False),
    "mit_b3": ((3, 4, 18, 3), (64, 128, 320, 512), 44_072_128, 6.14, 45.2, False),
    "mit_b4": ((3, 8, 27, 3), (64, 128, 320, 512), 60_842_688, 8.92, 62.6, False),
    "mit_b5": ((3, 6, 40, 3), (64, 128, 320, 512), 81_443_008, 11.72, 82.0, False),
}

for _name, (_, (_patch, _width, _heads), _parameters, _gflops, _paper, _published) in VITS.items():
    register(
        BackboneSpec(
            name=_name,
            family="vit",
            image_size=224,
            size_multiple=_patch,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            cam_layer="norm",
            tokens=True,
            class_tokens=1,
            cut_points=("patch_embed", *(f"block_{i}" for i in range(12)), "norm"),
            paper="arXiv:2010.11929",
            parameters=_parameters,
            paper_parameters=_paper,
            gflops=_gflops,
            weights=IMAGENET if _published else {},
            weight_map=vit_names.WEIGHT_MAP,
            note=f"{REPLACEMENT} Checkpoints of timm fit too.",
        )
    )(functools.partial(vit, patch_size=_patch, project_dim=_width, num_heads=_heads))

for _name, (_depths, _widths, _parameters, _gflops, _paper, _published) in MITS.items():
    register(
        BackboneSpec(
            name=_name,
            family="mit",
            image_size=224,
            size_multiple=32,
            cam_layer="output_level_3",
            cut_points=tuple(f"hierarchical_encoder_{i}_{j}" for i in range(4) for j in range(_depths[i])),
            paper="arXiv:2105.15203",
            parameters=_parameters,
            paper_parameters=_paper,
            gflops=_gflops,
            weights=IMAGENET if _published else {},
            note=f"{REPLACEMENT} Its reduced attention differs from SegFormer's; so do its weights.",
        )
    )(functools.partial(mit, depths=_depths, embedding_dims=_widths))
