"""A residual network of ten layers, narrow and shallow, to be trained from nothing on a CPU.

The basic blocks and the stem are those of He et al. 2016 (arXiv:1512.03385, table 1, half of ResNet18), with 32
channels in the first stage. A patch of handwriting is sparse and local; on a few thousand of them this learns in
minutes what the big networks cannot learn without ImageNet weights.
"""

from age_keras.backbones.lazy import keras, layers
from age_keras.backbones.registry import BackboneSpec, register


def _convolution(x, filters, kernel, strides, name):
    x = keras.layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNorm(momentum=0.9, name=f"{name}_bn")(x)


def _basic_block(x, filters, strides, name):
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = _convolution(x, filters, 1, strides, f"{name}_0")
    x = keras.layers.ReLU(name=f"{name}_1_relu")(_convolution(x, filters, 3, strides, f"{name}_1"))
    x = _convolution(x, filters, 3, 1, f"{name}_2")
    return keras.layers.ReLU(name=f"{name}_out")(keras.layers.Add(name=f"{name}_add")([shortcut, x]))


@register(
    BackboneSpec(
        name="resnet10",
        family="resnet10",
        image_size=200,
        min_image_size=16,
        parameters=1_230_240,
        gflops=0.21,
        cam_layer="stage4_out",
        cut_points=("stage1_out", "stage2_out", "stage3_out", "stage4_out"),
        paper="arXiv:1512.03385",
        note="No published weights: train it from nothing.",
        small=True,
    )
)
def resnet10(x, image_size, width=32):
    """Four stages of one basic block each, `width` channels in the first, doubled in each further one."""
    x = keras.layers.ReLU(name="stem_relu")(_convolution(x, width, 7, 2, "stem"))
    x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for stage in range(4):
        x = _basic_block(x, width * 2**stage, 1 if stage == 0 else 2, f"stage{stage + 1}")
    return x
