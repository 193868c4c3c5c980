"""The CNNs of Keras Applications, built on our own input: flat, with the family's own preprocessing in the graph.

ResNet50, InceptionV3, InceptionResNetV2, DenseNet121 and EfficientNetV2M are the published study's five;
MobileNetV3Small is the one to start with on a CPU. The licence of the code is Keras' (Apache-2.0); Keras downloads the
ImageNet weights from its own storage.
"""

from typing import Any

from age_keras.backbones.lazy import keras
from age_keras.backbones.registry import BackboneSpec, WeightSource, register


def _load_published(model: Any, spec: BackboneSpec) -> None:
    """Keras Applications keep their weights with the builder: builds once more with them, and copies."""
    builders = {name.lower(): name for name in dir(keras.applications) if name[0].isupper()}
    builder = getattr(keras.applications, builders[spec.name.replace("_", "")])
    published = builder(include_top=False, weights="imagenet", input_shape=(*model.inputs[0].shape[1:3], 3))
    model.set_weights(published.get_weights())


KERAS_WEIGHTS = {"imagenet": WeightSource(location="keras", loader=_load_published)}
SYMMETRIC: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
# "caffe" preprocessing: BGR, the mean of ImageNet subtracted, not scaled.
CAFFE: dict[str, Any] = {
    "mean": tuple(m / 255 for m in (103.939, 116.779, 123.68)),
    "std": (1 / 255, 1 / 255, 1 / 255),
    "channel_order": "bgr",
}
# These rescale inside; so the study, which divided by 255 before, showed them an almost black page.
RESCALES_INSIDE: dict[str, Any] = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}


def _features(application, x, **options):
    """The last feature map of an application, connected to `x`."""
    return application(include_top=False, weights=None, input_tensor=x, **options).output


def _blocks(counts: dict[str, int]) -> tuple[str, ...]:
    """Names with a running number: {"conv2_block{}_out": 3} gives three."""
    return tuple(pattern.format(i) for pattern, count in counts.items() for i in range(1, count + 1))


@register(
    BackboneSpec(
        name="resnet50",
        family="resnet",
        image_size=224,
        parameters=23_534_592,
        gflops=3.86,
        cam_layer="conv5_block3_out",
        cut_points=_blocks(
            {"conv2_block{}_out": 3, "conv3_block{}_out": 4, "conv4_block{}_out": 6, "conv5_block{}_out": 3}
        ),
        weights=KERAS_WEIGHTS,
        paper="arXiv:1512.03385",
        **CAFFE,
    )
)
def resnet50(x, image_size):
    return _features(keras.applications.ResNet50, x)


@register(
    BackboneSpec(
        name="inception_v3",
        family="inception",
        image_size=299,
        min_image_size=75,
        parameters=21_768_352,
        gflops=5.71,
        cam_layer="mixed10",
        cut_points=tuple(f"mixed{i}" for i in range(11)),
        weights=KERAS_WEIGHTS,
        paper="arXiv:1512.00567",
        **SYMMETRIC,
    )
)
def inception_v3(x, image_size):
    return _features(keras.applications.InceptionV3, x)


@register(
    BackboneSpec(
        name="inception_resnet_v2",
        family="inception",
        image_size=299,
        min_image_size=75,
        parameters=54_276_192,
        gflops=13.15,
        cam_layer="conv_7b_ac",
        cut_points=(
            "mixed_5b",
            *_blocks({"block35_{}_ac": 10}),
            "mixed_6a",
            *_blocks({"block17_{}_ac": 20}),
            "mixed_7a",
            *_blocks({"block8_{}_ac": 9}),
            "conv_7b_ac",
        ),
        weights=KERAS_WEIGHTS,
        paper="arXiv:1602.07261",
        **SYMMETRIC,
    )
)
def inception_resnet_v2(x, image_size):
    return _features(keras.applications.InceptionResNetV2, x)


@register(
    BackboneSpec(
        name="densenet121",
        family="densenet",
        image_size=224,
        parameters=6_953_856,
        gflops=2.83,
        cam_layer="relu",
        cut_points=(
            *_blocks({"conv2_block{}_concat": 6}),
            "pool2_pool",
            *_blocks({"conv3_block{}_concat": 12}),
            "pool3_pool",
            *_blocks({"conv4_block{}_concat": 24}),
            "pool4_pool",
            *_blocks({"conv5_block{}_concat": 16}),
        ),
        weights=KERAS_WEIGHTS,
        paper="arXiv:1608.06993",
    )
)
def densenet121(x, image_size):
    return _features(keras.applications.DenseNet121, x)


def _mbconv_ends(depths: tuple[int, ...]) -> tuple[str, ...]:
    """Ends of EfficientNetV2's blocks: the residual sum, or the projection where the shape changes."""
    ends = []
    for stage, depth in enumerate(depths, start=1):
        ends += [f"block{stage}{chr(ord('a') + i)}_add" for i in range(depth) if i > 0 or stage == 1]
    return tuple(ends)


@register(
    BackboneSpec(
        name="efficientnetv2_m",
        family="efficientnet_v2",
        image_size=480,
        parameters=52_858_356,
        gflops=24.58,
        cam_layer="top_activation",
        cut_points=_mbconv_ends((3, 5, 5, 7, 14, 18, 5)),
        weights=KERAS_WEIGHTS,
        paper="arXiv:2104.00298",
        **RESCALES_INSIDE,
    )
)
def efficientnetv2_m(x, image_size):
    return _features(keras.applications.EfficientNetV2M, x)


@register(
    BackboneSpec(
        name="mobilenetv3_small",
        family="mobilenet_v3",
        image_size=224,
        parameters=927_008,
        gflops=0.055,
        cam_layer="conv_1_bn",  # the activation behind it has no fixed name
        cut_points=(*(f"expanded_conv_{i}_add" for i in (2, 4, 5, 7, 9, 10)), "conv_1_bn"),
        weights=KERAS_WEIGHTS,
        paper="arXiv:1905.02244",
        small=True,
        **RESCALES_INSIDE,
    )
)
def mobilenetv3_small(x, image_size):
    return _features(keras.applications.MobileNetV3Small, x)
