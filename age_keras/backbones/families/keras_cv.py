"""keras-cv's vision transformers (ViT) and mix transformers (MiT), flat on our own input.

Dosovitskiy et al. 2020, arXiv:2010.11929; Xie et al. 2021, "SegFormer", arXiv:2105.15203.

keras-cv is frozen at 0.9: keras-hub (`keras_hub.models.ViTBackbone`, `MiTBackbone`) replaces it. Only
`layers/keras_cv.py` imports it; the rest of the registry works without it. A block is one layer here, `block_0` or
`hierarchical_encoder_0_0`. Nothing is downloaded unless the weights `imagenet` are asked for: those of the ViTs come
from keras-cv's storage, MiT-B0's from Kaggle.
"""

import functools
from typing import Any

from age_keras.backbones.checkpoints import vit_names
from age_keras.backbones.lazy import keras, layers
from age_keras.backbones.registry import BackboneSpec, WeightSource, register

REPLACEMENT = "keras-cv is frozen upstream; keras-hub replaces it."
MIT_HEADS = (1, 2, 5, 8)
MIT_REDUCTIONS = (8, 4, 2, 1)
EPSILON = 1e-6


def vit(x, image_size, patch_size=16, project_dim=768, num_heads=12, depth=12, drop_path_rate=0.0, exact_gelu=False):
    """keras-cv's ViT.

    Args:
        x: Preprocessed pixels, (N, image_size, image_size, 3).
        image_size: The side of the image, a multiple of `patch_size`.
        patch_size: The side of a patch in pixels.
        project_dim, num_heads, depth: Channels, attention heads and blocks.
        drop_path_rate: Stochastic depth of the last block (whole blocks); grows linearly from 0. Defaults to 0.
        exact_gelu: See `KerasCVLayer`; weights of PyTorch set it. Defaults to False.

    Returns:
        Tokens, (N, 1 + (image_size / patch_size) ** 2, project_dim), the class token first.
    """
    shape = (1 + (image_size // patch_size) ** 2, project_dim)
    options = {"project_dim": project_dim, "patch_size": patch_size}
    x = layers.KerasCVLayer("PatchingAndEmbedding", options, shape, name="patch_embed")(x)
    options = {"project_dim": project_dim, "num_heads": num_heads, "mlp_dim": 4 * project_dim}
    options |= {"mlp_dropout": 0.0, "attention_dropout": 0.0}
    for block, rate in enumerate(layers.rates(drop_path_rate, depth)):
        name = f"block_{block}.encoder" if rate else f"block_{block}"
        y = layers.KerasCVLayer("TransformerEncoder", options, shape, exact_gelu, name=name)(x)
        if rate:
            y = keras.layers.Subtract(name=f"block_{block}.branch")([y, x])
            y = layers.StochasticDepth(rate, name=f"block_{block}.drop_path")(y)
            y = keras.layers.Add(name=f"block_{block}")([x, y])
        x = y
    return keras.layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)


def mit(x, image_size, depths=(2, 2, 2, 2), embedding_dims=(32, 64, 160, 256), drop_path_rate=0.0):
    """keras-cv's MiT, the encoder of SegFormer.

    Args:
        x: Preprocessed pixels, (N, image_size, image_size, 3).
        image_size: The side of the image, a multiple of 32.
        depths, embedding_dims: Blocks and channels of the four stages.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0 at the first. Defaults to 0.

    Returns:
        The last map, (N, image_size / 32, image_size / 32, embedding_dims[-1]).
    """
    drop_path = iter(layers.rates(drop_path_rate, sum(depths)))
    side = image_size
    for stage, (depth, width) in enumerate(zip(depths, embedding_dims, strict=True)):
        stride = 2 if stage else 4
        side //= stride
        shape = (side * side, width)
        options = {"project_dim": width, "patch_size": 3 if stage else 7, "stride": stride}
        x = layers.KerasCVLayer("OverlappingPatchingAndEmbedding", options, shape, name=f"patch_and_embed_{stage}")(x)
        for block in range(depth):
            options = {"project_dim": width, "num_heads": MIT_HEADS[stage], "sr_ratio": MIT_REDUCTIONS[stage]}
            options["drop_prob"] = next(drop_path)
            name = f"hierarchical_encoder_{stage}_{block}"
            x = layers.KerasCVLayer("HierarchicalTransformerEncoder", options, shape, name=name)(x)
        x = keras.layers.LayerNormalization(name=f"norm_{stage}")(x)
        x = keras.layers.Reshape((side, side, width), name=f"output_level_{stage}")(x)
    return x


def _load_published(model: Any, spec: BackboneSpec) -> None:
    layers.load_published(model, VITS[spec.name][0] if spec.family == "vit" else spec.name)


IMAGENET = {"imagenet": WeightSource(location="keras-cv", loader=_load_published)}
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
