"""BEiT: a plain vision transformer with relative position biases; and DiT, the same shape trained on documents.

Bao et al. 2021, "BEiT: BERT Pre-Training of Image Transformers", arXiv:2106.08254. Li et al. 2022, "DiT:
Self-supervised Pre-training for Document Image Transformer", arXiv:2203.02378: positions are learned embeddings there.

Written here rather than taken from zeromodels, which has BEiT: see `swin_v2` for why; also its epsilon is not the
published one. A layer with weights is named after its parameters in the published checkpoints (`blocks.0.attn.qkv`),
and a block's last layer after the block (`blocks.0`).
"""

import functools

from age_keras.backbones.checkpoints import transformers_names
from age_keras.backbones.checkpoints.interpolation import resize_bias_table, resize_position_embedding
from age_keras.backbones.checkpoints.weight_map import WeightMap
from age_keras.backbones.lazy import keras, layers
from age_keras.backbones.registry import BackboneSpec, WeightSource, register

EPSILON = 1e-6  # of every normalisation
PATCH = 16
CLASS_OFFSETS = 3  # of the bias table: class to place, place to class, class to itself


def _norm(x, name):
    return layers.LayerNorm(epsilon=EPSILON, name=name)(x)


def _block(x, num_heads, grid, mlp_ratio, init_values, drop_path, name):
    shortcut, width = x, x.shape[-1]
    x = layers.dense(_norm(x, f"{name}.norm1"), 3 * width, f"{name}.attn.qkv", use_bias=False)
    x = layers.TokenAttention(num_heads, grid, name=f"{name}.attn")(x)
    x = layers.dense(x, width, f"{name}.attn.proj")
    x = layers.LayerScale(init_values, name=f"{name}.gamma_1")(x)
    x = shortcut = layers.residual(shortcut, x, drop_path, f"{name}.attn.add")
    x = layers.dense(_norm(x, f"{name}.norm2"), int(width * mlp_ratio), f"{name}.mlp.fc1", layers.gelu)
    x = layers.LayerScale(init_values, name=f"{name}.gamma_2")(layers.dense(x, width, f"{name}.mlp.fc2"))
    return layers.residual(shortcut, x, drop_path, name)


def beit(
    x,
    image_size,
    patch_size=PATCH,
    embed_dim=768,
    depth=12,
    num_heads=12,
    mlp_ratio=4,
    init_values=0.1,
    relative_positions=True,
    absolute_positions=False,
    drop_path_rate=0.0,
):
    """The network, up to and without the norm that stands after the published one's pooling.

    Args:
        x: Preprocessed pixels, (N, image_size, image_size, 3).
        image_size: The side of the image, a multiple of `patch_size`.
        patch_size: The side of a patch in pixels.
        embed_dim, depth, num_heads: Channels, blocks and attention heads.
        mlp_ratio: Hidden units of the MLPs, in multiples of `embed_dim`.
        init_values: What the scale of each branch starts from.
        relative_positions: Whether attention has biases by relative position, as BEiT.
        absolute_positions: Whether position embeddings are added at the start, as DiT.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0 at the first. Defaults to 0.

    Returns:
        Tokens, (N, 1 + (image_size / patch_size) ** 2, embed_dim), the class token first.
    """
    grid = image_size // patch_size
    x = keras.layers.Conv2D(embed_dim, patch_size, patch_size, name="patch_embed.proj")(x)
    x = keras.layers.Reshape((grid * grid, embed_dim), name="patch_embed.tokens")(x)
    x = layers.ClassToken(name="cls_token")(x)
    if absolute_positions:
        x = layers.TokenPositionEmbedding(name="pos_embed")(x)
    for block, rate in enumerate(layers.rates(drop_path_rate, depth)):
        bias_grid = grid if relative_positions else 0
        x = _block(x, num_heads, bias_grid, mlp_ratio, init_values, rate, f"blocks.{block}")
    return x


WEIGHT_MAP = WeightMap(
    ignore=(
        r"head\..*",
        r"(lm_head|classifier|pooler|layernorm)\..*",
        r"(fc_norm|norm)\..*",
        r"mask_token",
        r".*relative_position_index",
        r".*\.k_bias",
    ),
    prepare=transformers_names.beit,
    rename=((r"\.gamma_(\d)$", r".gamma_\1.scale"), (r"^(cls_token|pos_embed)$", r"\1.\1")),
    resize=(
        (r".*relative_position_bias_table", lambda table, shape: resize_bias_table(table, shape[0], CLASS_OFFSETS)),
        (r"pos_embed.*", lambda tokens, shape: resize_position_embedding(tokens, shape[1])),
    ),
)

# Channels, blocks, heads; parameters, GFLOPs, the paper's millions of parameters.
BEIT = {
    "base": (768, 12, 12, 0.1, 85_760_448, 17.56, 87.0),
    "large": (1024, 24, 16, 1e-5, 303_403_520, 61.55, 304.0),
}
DIT = {
    "base": (768, 12, 12, 0.1, 85_806_336, 17.56, 87.0),
    "large": (1024, 24, 16, 1e-5, 303_324_160, 61.55, 304.0),
}
BEIT_WEIGHTS = {
    # The authors' own release: no commit of the hub's repository is known to us.
    "base": WeightSource(
        location="https://github.com/addf400/files/releases/download/v1.0",
        filename="beit_base_patch16_224_pt22k_ft22kto1k.pth",
        revision="v1.0",
    ),
    "large": WeightSource(
        location="timm/beit_large_patch16_224.in22k_ft_in22k_in1k",
        filename="model.safetensors",
        revision="f0459e9f33f2f7818e1c2f5c0c946b535d0da180",
    ),
}
# No commit of the large one's repository is known to us.
DIT_REVISIONS = {"base": "5f3a1d82def5866db1ac86d7701fe4f508050f42", "large": "main"}


def _spec(name: str, depth: int, parameters: int, gflops: float, paper_parameters: float, **facts) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        image_size=224,
        size_multiple=PATCH,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        cam_layer=f"blocks.{depth - 1}",
        tokens=True,
        class_tokens=1,
        cut_points=("cls_token", *(f"blocks.{i}" for i in range(depth))),
        parameters=parameters,
        paper_parameters=paper_parameters,
        gflops=gflops,
        weight_map=WEIGHT_MAP,
        **facts,
    )


for _size, (_width, _depth, _heads, _scale, _parameters, _gflops, _paper) in BEIT.items():
    register(
        _spec(
            f"beit_{_size}",
            _depth,
            _parameters,
            _gflops,
            _paper,
            family="beit",
            paper="arXiv:2106.08254",
            weights={"imagenet": BEIT_WEIGHTS[_size]},
            note="Without the norm after the pooling.",
        )
    )(functools.partial(beit, embed_dim=_width, depth=_depth, num_heads=_heads, init_values=_scale))

for _size, (_width, _depth, _heads, _scale, _parameters, _gflops, _paper) in DIT.items():
    register(
        _spec(
            f"dit_{_size}",
            _depth,
            _parameters,
            _gflops,
            _paper,
            family="dit",
            paper="arXiv:2203.02378",
            weights={
                "documents": WeightSource(
                    location=f"microsoft/dit-{_size}",
                    filename="pytorch_model.bin",
                    revision=DIT_REVISIONS[_size],
                    licence="not stated; the authors' code is MIT",
                )
            },
            note='Trained on 42 million scanned documents, without labels; `weights="documents"`.',
        )
    )(
        functools.partial(
            beit,
            embed_dim=_width,
            depth=_depth,
            num_heads=_heads,
            init_values=_scale,
            relative_positions=False,
            absolute_positions=True,
        )
    )
