"""TinyViT: a convolutional first stage, then window attention with learned attention biases and a local convolution.

Wu et al. 2022, "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", arXiv:2207.10666, section 3.3.

A layer with weights is named after its parameters in the published checkpoints (`stages.1.blocks.0.attn.qkv`), and a
block's last layer after the block (`stages.1.blocks.0`).
"""

import functools

import numpy as np

from age_keras.backbones.checkpoints.interpolation import resize_bicubic
from age_keras.backbones.checkpoints.weight_map import WeightMap
from age_keras.backbones.lazy import keras, layers
from age_keras.backbones.registry import BackboneSpec, WeightSource, register

EPSILON = 1e-5  # of every normalisation
EXPANSION = 4  # of the inverted bottlenecks and the MLPs
WINDOWS = (7, 7, 14, 7)
REVISIONS = {
    "5m": "9e74a83a8c955edfa17465c7df6e5c72a4ff5dab",
    "11m": "41faee9688bab1b3975adfa9a4dbbc90c43120b0",
    "21m": "d5ce527855652803a6edc6f9e65af1aaa7636b3a",
}


def _convolution(x, filters, name, kernel=1, strides=1, gamma="ones"):
    """Convolution and batch normalisation; depthwise where `filters` is None. Padding is the same on all sides."""
    if strides > 1:
        x = keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x)
    options = {
        "strides": strides,
        "padding": "valid" if strides > 1 else "same",
        "use_bias": False,
        "name": f"{name}.conv",
    }
    if filters is None:
        x = keras.layers.DepthwiseConv2D(kernel, **options)(x)
    else:
        x = keras.layers.Conv2D(filters, kernel, **options)(x)
    return layers.BatchNorm(momentum=0.9, epsilon=EPSILON, gamma_initializer=gamma, name=f"{name}.bn")(x)


def _gelu(x, name):
    return keras.layers.Activation(layers.gelu, name=name)(x)


def _inverted_bottleneck(x, drop_path, name):
    shortcut, width = x, x.shape[-1]
    x = _gelu(_convolution(x, width * EXPANSION, f"{name}.conv1"), f"{name}.act1")
    x = _gelu(_convolution(x, None, f"{name}.conv2", 3), f"{name}.act2")
    x = _convolution(x, width, f"{name}.conv3", gamma="zeros")
    return _gelu(layers.residual(shortcut, x, drop_path, f"{name}.add"), name)


def _merge_patches(x, width, name):
    """Halves the map's sides, rounded up."""
    x = _gelu(_convolution(x, width, f"{name}.conv1"), f"{name}.act1")
    x = _gelu(_convolution(x, None, f"{name}.conv2", 3, 2), f"{name}.act2")
    return _convolution(x, width, f"{name}.conv3")


def _norm(x, name):
    return layers.LayerNorm(epsilon=EPSILON, name=name)(x)


def _transformer_block(x, num_heads, window_size, drop_path, name):
    shortcut, (_, height, width, channels) = x, x.shape
    x = layers.WindowPartition(window_size, name=f"{name}.windows")(x)
    # Padded cells take part as the norm's offset: the published network does not mask them.
    x = layers.dense(_norm(x, f"{name}.attn.norm"), 3 * channels, f"{name}.attn.qkv")
    x = layers.OffsetBiasAttention(num_heads, window_size, name=f"{name}.attn")(x)
    x = layers.dense(x, channels, f"{name}.attn.proj")
    x = layers.WindowReverse(height, width, name=f"{name}.map")(x)
    x = layers.residual(shortcut, x, drop_path, f"{name}.add")
    x = shortcut = _convolution(x, None, f"{name}.local_conv", 3)
    x = layers.dense(_norm(x, f"{name}.mlp.norm"), channels * EXPANSION, f"{name}.mlp.fc1")
    x = layers.dense(_gelu(x, f"{name}.mlp.act"), channels, f"{name}.mlp.fc2")
    return layers.residual(shortcut, x, drop_path, name)


def tiny_vit(
    x,
    image_size,
    embed_dims=(96, 192, 384, 576),
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 18),
    window_sizes=WINDOWS,
    drop_path_rate=0.0,
):
    """The network, up to and without the norm that stands after the published one's pooling.

    Args:
        x: Preprocessed pixels, (N, image_size, image_size, 3).
        image_size: The side of the image; any. Windows that do not tile a map are padded with zeros.
        embed_dims, depths, num_heads: Channels, blocks and attention heads of the four stages.
        window_sizes: Sides of the windows of the stages, in cells; the first is not used.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0 at the first. Defaults to 0.

    Returns:
        The last map, (N, image_size / 32, image_size / 32, embed_dims[-1]), rounded up.
    """
    drop_path = iter(layers.rates(drop_path_rate, sum(depths)))
    x = _gelu(_convolution(x, embed_dims[0] // 2, "patch_embed.conv1", 3, 2), "patch_embed.act")
    x = _convolution(x, embed_dims[0], "patch_embed.conv2", 3, 2)
    for stage, (width, depth, heads, window) in enumerate(
        zip(embed_dims, depths, num_heads, window_sizes, strict=True)
    ):
        if stage:
            x = _merge_patches(x, width, f"stages.{stage}.downsample")
        for block in range(depth):
            name = f"stages.{stage}.blocks.{block}"
            if stage:
                x = _transformer_block(x, heads, window, next(drop_path), name)
            else:
                x = _inverted_bottleneck(x, next(drop_path), name)
    return x


def _resize_biases(biases: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bias tables (heads, window ** 2) for another window: bicubic over the distances, as timm does it."""
    old, new = round(biases.shape[1] ** 0.5), round(shape[1] ** 0.5)
    return resize_bicubic(biases.T.reshape(old, old, -1), (new, new)).reshape(new * new, -1).T


AUTHORS_NAMES = (  # their layers halve the map at the end, timm's stages (and ours) at the start of the next
    (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"^layers\.(\d+)\.downsample\.", lambda found: f"stages.{int(found[1]) + 1}.downsample."),
    (r"^layers\.", "stages."),
    (r"\.c\.", ".conv."),
)
WEIGHT_MAP = WeightMap(
    ignore=(r"(head|norm_head)\..*", r".*\.attention_bias_idxs"),
    rename=AUTHORS_NAMES,
    resize=((r".*\.attention_biases", _resize_biases),),
)


def _spec(size: str, parameters: int, published: float, gflops: float, depths=(2, 2, 6, 2)) -> BackboneSpec:
    blocks = [f"stages.{stage}.blocks.{block}" for stage, depth in enumerate(depths) for block in range(depth)]
    return BackboneSpec(
        name=f"tinyvit_{size}",
        family="tiny_vit",
        image_size=224,
        cam_layer=blocks[-1],
        cut_points=("patch_embed.conv2.bn", *blocks),
        paper="arXiv:2207.10666",
        parameters=parameters,
        paper_parameters=published,
        gflops=gflops,
        weights={
            "imagenet": WeightSource(
                location=f"timm/tiny_vit_{size}_224.dist_in22k_ft_in1k",
                filename="model.safetensors",
                revision=REVISIONS[size],
            )
        },
        weight_map=WEIGHT_MAP,
        note="Any image size. Weights distilled on ImageNet-22k, then fine-tuned on ImageNet-1k.",
    )


def _variant(spec: BackboneSpec, embed_dims: tuple[int, ...], num_heads: tuple[int, ...]):
    """Registers `tiny_vit` with a variant's numbers; all its arguments may still be given to `build_backbone`."""
    return register(spec)(functools.partial(tiny_vit, embed_dims=embed_dims, num_heads=num_heads))


# The published stochastic depth is 0.0, 0.1 and 0.2. The published networks at 384 and 512 pixels are the largest one
# with window_sizes=(12, 12, 24, 12) and (16, 16, 32, 16).
tinyvit_5m = _variant(_spec("5m", 5_071_124, 5.4, 1.25), (64, 128, 160, 320), (2, 4, 5, 10))
tinyvit_11m = _variant(_spec("11m", 10_547_076, 11.0, 2.02), (64, 128, 256, 448), (2, 4, 8, 14))
tinyvit_21m = _variant(_spec("21m", 20_620_416, 21.0, 4.25), (96, 192, 384, 576), (3, 6, 12, 18))
