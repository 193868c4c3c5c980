"""MobileViT: inverted bottlenecks, and transformers among the cells that have the same place in a patch of 2 x 2.

Mehta & Rastegari 2022, "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer",
arXiv:2110.02178.

Written here rather than taken from zeromodels, which has it: see `swin_v2` for why; also its last feature ends before
the final convolution, and it deviates at sizes other than the trained one. A layer with weights is named after its
parameters in the published checkpoints (`stages.2.1.transformer.0.attn.qkv`), and a block's last layer after the block.
"""

import functools

from age_keras.backbones.checkpoints.weight_map import WeightMap
from age_keras.backbones.lazy import keras, layers
from age_keras.backbones.registry import BackboneSpec, WeightSource, register

EPSILON = 1e-5  # of every normalisation
HEADS = 4
PATCH = 2


def _convolution(x, filters, name, kernel=1, strides=1, activation=True):
    """Convolution, batch normalisation, SiLU; depthwise where `filters` is None. The same padding on all sides."""
    padding = "same"
    if strides > 1:
        x, padding = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x), "valid"
    options = {"strides": strides, "padding": padding, "use_bias": False, "name": f"{name}.conv"}
    if filters is None:
        x = keras.layers.DepthwiseConv2D(kernel, **options)(x)
    else:
        x = keras.layers.Conv2D(filters, kernel, **options)(x)
    x = layers.BatchNorm(momentum=0.9, epsilon=EPSILON, name=f"{name}.bn")(x)
    return keras.layers.Activation("silu", name=f"{name}.act")(x) if activation else x


def _inverted_bottleneck(x, filters, strides, expansion, drop_path, name):
    shortcut, width = x, x.shape[-1]
    x = _convolution(x, _divisible(width * expansion), f"{name}.conv1_1x1")
    x = _convolution(x, None, f"{name}.conv2_kxk", 3, strides)
    x = _convolution(x, filters, f"{name}.conv3_1x1", activation=False)
    if strides > 1 or filters != width:
        return keras.layers.Identity(name=name)(x)
    return layers.residual(shortcut, x, drop_path, name)


def _divisible(width: float, by: int = 8) -> int:
    """The nearest multiple of 8, not more than a tenth below."""
    near = max(by, int(width + by / 2) // by * by)
    return near + by if near < 0.9 * width else near


def _norm(x, name):
    return layers.LayerNorm(epsilon=EPSILON, name=name)(x)


def _transformer(x, drop_path, name):
    shortcut, width = x, x.shape[-1]
    x = layers.dense(_norm(x, f"{name}.norm1"), 3 * width, f"{name}.attn.qkv")
    x = layers.dense(layers.PlainAttention(HEADS, name=f"{name}.attn")(x), width, f"{name}.attn.proj")
    x = shortcut = layers.residual(shortcut, x, drop_path, f"{name}.attn.add")
    x = layers.dense(_norm(x, f"{name}.norm2"), 2 * width, f"{name}.mlp.fc1", "silu")
    return layers.residual(shortcut, layers.dense(x, width, f"{name}.mlp.fc2"), drop_path, name)


def _mobile_vit_block(x, filters, width, depth, drop_path, name):
    shortcut, (_, height, breadth, channels) = x, x.shape
    x = _convolution(x, channels, f"{name}.conv_kxk", 3)
    x = keras.layers.Conv2D(width, 1, use_bias=False, name=f"{name}.conv_1x1")(x)
    rows, columns = -(-height // PATCH), -(-breadth // PATCH)
    odd = height % PATCH or breadth % PATCH
    if odd:  # Stretched to whole patches, as the published network does.
        x = layers.Stretch(rows * PATCH, columns * PATCH, name=f"{name}.stretch")(x)
    x = layers.Unfold(name=f"{name}.unfold")(x)
    for block in range(depth):
        x = _transformer(x, next(drop_path), f"{name}.transformer.{block}")
    x = layers.Fold(rows, columns, name=f"{name}.fold")(_norm(x, f"{name}.norm"))
    if odd:
        x = layers.Stretch(height, breadth, name=f"{name}.shrink")(x)
    x = _convolution(x, filters, f"{name}.conv_proj")
    x = keras.layers.Concatenate(name=f"{name}.both")([shortcut, x])
    x = _convolution(x, filters, f"{name}.conv_fusion", 3)
    return keras.layers.Identity(name=name)(x)


def mobile_vit(
    x,
    image_size,
    filters=(16, 24, 48, 64, 80),
    widths=(64, 80, 96),
    expansion=2,
    last_filters=320,
    depths=(2, 4, 3),
    drop_path_rate=0.0,
):
    """The network, with its final convolution.

    Args:
        x: Preprocessed pixels, (N, image_size, image_size, 3).
        image_size: The side of the image; any from 32.
        filters: Channels of the five stages; the last three have transformers.
        widths, depths: Channels and blocks of those transformers.
        expansion: Expansion of the inverted bottlenecks.
        last_filters: Channels of the final convolution.
        drop_path_rate: Stochastic depth of the last transformer block; grows linearly from 0. Defaults to 0.

    Returns:
        The last map, (N, image_size / 32, image_size / 32, last_filters), rounded up.
    """
    drop_path = iter(layers.rates(drop_path_rate, sum(depths)))
    x = _convolution(x, 16, "stem", 3, 2)
    x = _inverted_bottleneck(x, filters[0], 1, expansion, 0.0, "stages.0.0")
    for block in range(3):
        x = _inverted_bottleneck(x, filters[1], 1 if block else 2, expansion, 0.0, f"stages.1.{block}")
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), start=2):
        x = _inverted_bottleneck(x, filters[stage], 2, expansion, 0.0, f"stages.{stage}.0")
        x = _mobile_vit_block(x, filters[stage], width, depth, drop_path, f"stages.{stage}.1")
    return _convolution(x, last_filters, "final_conv")


WEIGHT_MAP = WeightMap(ignore=(r"head\..*",))

LICENCE = "Apple sample code licence"
REVISIONS = {
    "xxs": "26e21ac95801b64f865338915b29721e59be50e3",
    "xs": "09bcddcdf2f602ff2f7352fe9906221df90179e4",
}
WEIGHTS = {
    size: WeightSource(f"timm/mobilevit_{size}.cvnets_in1k", "model.safetensors", revision, licence=LICENCE)
    for size, revision in REVISIONS.items()
}
# The same weights where timm first published them: no commit of the hub's repository is known to us.
WEIGHTS["s"] = WeightSource(
    location="https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-mvit-weights",
    filename="mobilevit_s-38a5a959.pth",
    revision="v0.1-mvit-weights",
    sha256="38a5a959",
    licence=LICENCE,
)
# Channels of the stages, of the transformers, expansion, channels of the final convolution; parameters, GFLOPs, the
# paper's millions of parameters.
VARIANTS = {
    "xxs": ((16, 24, 48, 64, 80), (64, 80, 96), 2, 320, 951_024, 0.41, 1.3),
    "xs": ((32, 48, 64, 80, 96), (96, 120, 144), 4, 384, 1_932_848, 1.03, 2.3),
    "s": ((32, 64, 96, 128, 160), (144, 192, 240), 4, 640, 4_937_632, 2.00, 5.6),
}
BLOCKS = ("stages.0.0", *(f"stages.1.{i}" for i in range(3)), *(f"stages.{i}.{j}" for i in (2, 3, 4) for j in (0, 1)))

for _size, (_filters, _widths, _expansion, _last, _parameters, _gflops, _paper) in VARIANTS.items():
    register(
        BackboneSpec(
            name=f"mobilevit_{_size}",
            family="mobile_vit",
            image_size=256,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            cam_layer="final_conv.act",
            cut_points=(*BLOCKS, "final_conv.act"),
            paper="arXiv:2110.02178",
            parameters=_parameters,
            paper_parameters=_paper,
            gflops=_gflops,
            weights={"imagenet": WEIGHTS[_size]},
            weight_map=WEIGHT_MAP,
            small=_size == "xxs",
        )
    )(functools.partial(mobile_vit, filters=_filters, widths=_widths, expansion=_expansion, last_filters=_last))
