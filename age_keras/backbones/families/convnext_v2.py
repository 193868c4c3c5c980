"""ConvNeXtV2: a convolutional network in the shape of a transformer, with global response normalisation.

Woo et al. 2023, "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders", arXiv:2301.00808.

Written here rather than taken from zeromodels, which has it: see `swin_v2` for why. A layer with weights is named after
its parameters in the published checkpoints (`stages.0.blocks.0.conv_dw`), and a block's last layer after the block.
"""

import functools
from typing import Any

import numpy as np

from age_keras.backbones.checkpoints import transformers_names
from age_keras.backbones.checkpoints.weight_map import WeightMap
from age_keras.backbones.lazy import keras, layers
from age_keras.backbones.registry import BackboneSpec, WeightSource, register

EPSILON = 1e-6  # of every normalisation


def _norm(x, name):
    return layers.LayerNorm(epsilon=EPSILON, name=name)(x)


def _block(x, drop_path, name):
    shortcut, width = x, x.shape[-1]
    x = keras.layers.DepthwiseConv2D(7, padding="same", name=f"{name}.conv_dw")(x)
    x = layers.dense(_norm(x, f"{name}.norm"), 4 * width, f"{name}.mlp.fc1", layers.gelu)
    x = layers.GlobalResponseNorm(name=f"{name}.mlp.grn")(x)
    return layers.residual(shortcut, layers.dense(x, width, f"{name}.mlp.fc2"), drop_path, name)


def convnext_v2(x, image_size, depths=(3, 3, 9, 3), dims=(96, 192, 384, 768), drop_path_rate=0.0):
    """The network, up to and without the norm that stands after the published one's pooling.

    Args:
        x: Preprocessed pixels, (N, image_size, image_size, 3).
        image_size: The side of the image; any from 32.
        depths, dims: Blocks and channels of the stages.
        drop_path_rate: Stochastic depth of the last block; grows linearly from 0 at the first. Defaults to 0.

    Returns:
        The last map, (N, image_size // 32, image_size // 32, dims[-1]) with four stages.
    """
    drop_path = iter(layers.rates(drop_path_rate, sum(depths)))
    x = keras.layers.Conv2D(dims[0], 4, 4, name="stem.0")(x)
    x = _norm(x, "stem.1")
    for stage, (depth, width) in enumerate(zip(depths, dims, strict=True)):
        if stage:
            x = _norm(x, f"stages.{stage}.downsample.0")
            x = keras.layers.Conv2D(width, 2, 2, name=f"stages.{stage}.downsample.1")(x)
        for block in range(depth):
            x = _block(x, next(drop_path), f"stages.{stage}.blocks.{block}")
    return x


def _flat(tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """1x1 convolutions as matrices, and (1, 1, 1, C) as vectors: the smaller variants are published so."""
    axes = tuple(length for length in tensor.shape if length > 1)
    return tensor.reshape(shape) if axes == tuple(length for length in shape if length > 1) else tensor


WEIGHT_MAP = WeightMap(
    prepare=transformers_names.convnext_v2,
    ignore=(r"(head|classifier)\..*", r"norm\..*", r"norm_pre\..*"),
    rename=(  # the authors' own files
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.dwconv\.", ".conv_dw."),
        (r"\.pwconv(\d)\.", r".mlp.fc\1."),
        (r"\.grn\.gamma$", ".mlp.grn.weight"),
        (r"\.grn\.beta$", ".mlp.grn.bias"),
    ),
    resize=((r".*\.mlp\..*", _flat),),
)

# Depths, channels of the first stage; parameters, GFLOPs, the paper's millions of parameters; pre-training of the
# published weights.
VARIANTS = {
    "atto": ((2, 2, 6, 2), 40, 3_386_760, 0.55, 3.7, "fcmae_ft_in1k"),
    "femto": ((2, 2, 6, 2), 48, 4_847_472, 0.78, 5.2, "fcmae_ft_in1k"),
    "pico": ((2, 2, 6, 2), 64, 8_552_256, 1.37, 9.1, "fcmae_ft_in1k"),
    "nano": ((2, 2, 8, 2), 80, 14_981_520, 2.44, 15.6, "fcmae_ft_in22k_in1k"),
    "tiny": ((3, 3, 9, 3), 96, 27_864_960, 4.46, 28.6, "fcmae_ft_in22k_in1k"),
    "base": ((3, 3, 27, 3), 128, 87_690_752, 15.35, 89.0, "fcmae_ft_in22k_in1k"),
}

REVISIONS = {  # of the published weights
    "atto": "main",  # its digest is known instead
    "pico": "9df9f51175442fe04357bc12542a052122947083",
    "nano": "aacb23b94d2adf0b206df6c8a75798b672183d6d",
    "tiny": "ffa838d8226776254489707de230f0e10fffab66",
    "base": "9e250ed8f88b436472d2b24af26f82a8aa8c719d",
}
SHA256 = {"atto": "6389c2f5a427b01a922e66e6d352c707424cccb62390c6936bc612e3d10b7ebb"}
LICENCE: dict[str, Any] = {"licence": "CC-BY-NC-4.0", "commercial": False}
WEIGHTS = {
    size: WeightSource(
        location=f"timm/convnextv2_{size}.{VARIANTS[size][-1]}",
        # At pico's commit there is no other format yet.
        filename="pytorch_model.bin" if size == "pico" else "model.safetensors",
        revision=revision,
        sha256=SHA256.get(size, ""),
        **LICENCE,
    )
    for size, revision in REVISIONS.items()
}
# The authors' own release: no commit of the hub's repository is known to us.
WEIGHTS["femto"] = WeightSource(
    location="https://dl.fbaipublicfiles.com/convnext/convnextv2/im1k",
    filename="convnextv2_femto_1k_224_ema.pt",
    revision="im1k",
    **LICENCE,
)

for _size, (_depths, _width, _parameters, _gflops, _paper, _) in VARIANTS.items():
    register(
        BackboneSpec(
            name=f"convnextv2_{_size}",
            family="convnext_v2",
            image_size=224,
            cam_layer=f"stages.3.blocks.{_depths[3] - 1}",
            cut_points=("stem.1", *(f"stages.{i}.blocks.{j}" for i in range(4) for j in range(_depths[i]))),
            paper="arXiv:2301.00808",
            parameters=_parameters,
            paper_parameters=_paper,
            gflops=_gflops,
            weights={"imagenet": WEIGHTS[_size]},
            weight_map=WEIGHT_MAP,
            note="Without the norm after the pooling.",
            small=_size in ("atto", "femto"),
        )
    )(functools.partial(convnext_v2, depths=_depths, dims=[_width * 2**i for i in range(4)]))
