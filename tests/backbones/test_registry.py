"""What the registry answers before anything is built."""

import pytest

from age_keras.backbones.registry import get_spec, names
from age_keras.errors import InputError


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="There is no backbone 'resnet51': did you mean resnet50"):
        get_spec("resnet51")


@pytest.mark.parametrize(
    ("name", "size", "answer"),
    [
        ("inception_v3", 74, "at least 75"),
        ("beit_base", 100, "a multiple of 16, e.g. 96"),
        ("fastervit_0", 208, "tile FasterViT's maps; use"),
    ],
)
def test_a_size_that_does_not_fit(name, size, answer):
    with pytest.raises(InputError, match=answer):
        get_spec(name).check_image_size(size)


@pytest.mark.parametrize("name", names())
def test_the_published_size_and_weights_are_accepted(name):
    spec = get_spec(name)
    spec.check_image_size(spec.image_size)
    for weights in spec.weights:
        spec.check_weights(weights)


def test_weights_that_do_not_exist_or_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="no weights 'imagenet' for resnet10: give an existing file"):
        get_spec("resnet10").check_weights("imagenet")
    with pytest.raises(InputError, match="no weights 'imagnet' for resnet50: give one of imagenet, or"):
        get_spec("resnet50").check_weights("imagnet")
    (tmp_path / "weights.pth").touch()
    get_spec("vit_tiny_16").check_weights(tmp_path / "weights.pth")
    with pytest.raises(InputError, match="not a file of weights that resnet50 reads"):
        get_spec("resnet50").check_weights(tmp_path / "weights.pth")


def test_an_option_that_a_backbone_does_not_have():
    get_spec("swinv2_tiny").check_options(["drop_path_rate"])
    with pytest.raises(InputError, match="resnet50 has no `drop_path_rate`"):
        get_spec("resnet50").check_options(["drop_path_rate"])
