"""The registry of backbones: what is known of each, and how one is built.

A family's file registers plain build functions:

    @register(BackboneSpec(name="tinyvit_5m", family="tiny_vit", ...))
    def tinyvit_5m(x, image_size, drop_path_rate=0.0):
        return tiny_vit(x, embed_dims=(64, 128, 160, 320), ...)

Both `keras` and our own `layers` come from `backbones.lazy`, so that the facts are read without starting TensorFlow.
`x` is a KerasTensor of preprocessed pixels (N, H, W, 3), and what comes back is the last feature map (N, h, w, C) or
the last tokens (N, T, C), connected to `x` by layers only: no nested model, so that every tool sees the whole graph.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from age_keras.backbones.checkpoints.torch_checkpoint import TORCH_SUFFIXES
from age_keras.backbones.checkpoints.weight_map import WeightMap
from age_keras.errors import InputError

KERAS_SUFFIXES = (".keras", ".h5")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class WeightSource:
    """Where published weights come from.

    Attributes:
        location: A Hugging Face hub repository, the address (`https://...`) of the folder that the file is in, or the
            name of the library that brings the weights.
        filename: The file in that repository or folder.
        revision: The pinned commit in that repository, or the release that the address names.
        sha256: SHA-256 of the file, or its first digits as far as they are published; checked after the download.
            Defaults to "", not known.
        licence: SPDX identifier, or a plain name, of the weights' licence.
        commercial: Whether that licence allows commercial use. Defaults to True.
        loader: `(model, spec)`, loads the weights of a library that downloads its own into a model of this backbone.
            Defaults to None: the file is downloaded and read.
    """

    location: str
    filename: str = ""
    revision: str = ""
    sha256: str = ""
    licence: str = "Apache-2.0"
    commercial: bool = True
    loader: Callable[[Any, "BackboneSpec"], None] | None = None


@dataclass(frozen=True)
class BackboneSpec:
    """The facts of one backbone.

    Attributes:
        name: Lower case, family and size: `resnet50`, `swinv2_tiny`.
        family: The family's name; one file each.
        image_size: The side, in pixels, that the published weights were trained at.
        min_image_size: The smallest side that builds.
        size_multiple: Sides must be multiples of this. Defaults to 1.
        size_rule: Raises `InputError` for a side that does not fit for another reason. Defaults to None: there is none.
        mean, std: What the first layer expects: (pixel / 255 - mean) / std, per RGB channel.
        channel_order: `rgb` or `bgr` ("caffe" preprocessing).
        cam_layer: The layer whose output Grad-CAM reads: (N, h, w, C), or tokens (N, T, C).
        class_tokens: How many leading tokens of the output are not places on the page. Defaults to 0.
        tokens: Whether the output is tokens (N, T, C) rather than a map (N, h, w, C). Tokens fold into a square grid,
            row by row, after the class tokens.
        cut_points: Layers that end a block, from input to output. The unfreeze ratio and the frozen prefix cut there.
            A build may name them by a pattern; the empty tuple means "any layer".
        weights: Published weights by name; `imagenet` is the usual one.
        weight_map: How the names in published PyTorch checkpoints differ from the names of our layers (see
            `checkpoints/weight_map.py`); None where only Keras files fit.
        parameters: Trainable ones of the backbone without any classifier, in the published configuration; the papers
            count so too, without the running statistics of batch normalisation.
        paper_parameters: In millions and with its classifier of 1,000 classes, as the paper states them; 0 where it
            does not.
        gflops: Multiply-adds of one image at `image_size`, in 10^9, counted in our graph (`prefix/flops.py`):
            convolutions and matrix products, those of attention too, which some papers leave out.
        licence: Licence of the code the build uses.
        paper: Where the architecture is published.
        note: What a user should know before choosing it.
        small: Fit for training on a CPU.
    """

    name: str
    family: str
    image_size: int
    cam_layer: str
    paper: str
    parameters: int
    gflops: float
    paper_parameters: float = 0.0
    min_image_size: int = 32
    size_multiple: int = 1
    size_rule: Callable[[int], Any] | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: Literal["rgb", "bgr"] = "rgb"
    class_tokens: int = 0
    tokens: bool = False
    cut_points: tuple[str, ...] = ()
    weights: dict[str, WeightSource] = field(default_factory=dict)
    weight_map: WeightMap | None = None
    licence: str = "Apache-2.0"
    note: str = ""
    small: bool = False
    build: Any = None  # The function that `register` decorates.

    def check_image_size(self, image_size: int) -> None:
        """Raises `InputError` where this side cannot be built."""
        if image_size < self.min_image_size:
            raise InputError(
                f"image_size={image_size} is too small for {self.name}: use at least {self.min_image_size} pixels."
            )
        if image_size % self.size_multiple:
            near = max(self.min_image_size, round(image_size / self.size_multiple) * self.size_multiple)
            raise InputError(
                f"image_size={image_size} does not fit {self.name}: use a multiple of {self.size_multiple}, "
                f"e.g. {near}."
            )
        if self.size_rule:
            self.size_rule(image_size)

    def check_weights(self, weights: str | Path) -> None:
        """Raises `InputError` where these are neither published weights nor a file that this backbone can read."""
        if str(weights) in self.weights:
            return
        path = Path(weights).expanduser()
        if not path.is_file():
            known = f"one of {', '.join(self.weights)}, or " if self.weights else ""
            raise InputError(f"There are no weights {str(weights)!r} for {self.name}: give {known}an existing file.")
        suffixes = KERAS_SUFFIXES if self.weight_map is None else (*KERAS_SUFFIXES, *TORCH_SUFFIXES)
        if path.suffix not in suffixes:
            raise InputError(f"{path} is not a file of weights that {self.name} reads: use {', '.join(suffixes)}.")

    def check_options(self, options: Iterable[str]) -> None:
        """Raises `InputError` where the build function does not take an option, e.g. `drop_path_rate`."""
        unknown = sorted(set(options) - set(inspect.signature(self.build).parameters))
        if unknown:
            raise InputError(f"The backbone {self.name} has no `{unknown[0]}`: leave it out or use another backbone.")


_SPECS: dict[str, BackboneSpec] = {}
_loaded = False


def register(spec: BackboneSpec) -> Callable:
    """Decorates a build function `(x, image_size, **options) -> features` with the facts of its backbone.

    Its keyword parameters are the options a user may set, `drop_path_rate` where there is stochastic depth.
    """

    def decorate(build: Callable) -> Callable:
        if spec.name in _SPECS:
            raise ValueError(f"Two backbones are called {spec.name!r}. Received: build={build}")
        _SPECS[spec.name] = replace(spec, build=build)
        return build

    return decorate


def _load_families() -> None:
    global _loaded
    if _loaded:
        return
    import age_keras.backbones.families as package

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    _loaded = True


def names() -> list[str]:
    """All registered names, family by family."""
    _load_families()
    return list(_SPECS)


def get_spec(name: str) -> BackboneSpec:
    """The facts of a backbone. Raises `InputError`, with the nearest names, where there is none of this name."""
    _load_families()
    if name not in _SPECS:
        near = difflib.get_close_matches(name, _SPECS, n=3, cutoff=0.5) or list(_SPECS)
        raise InputError(f"There is no backbone {name!r}: did you mean {', '.join(near)}?")
    return _SPECS[name]
