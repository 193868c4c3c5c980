"""What the map of a page costs: Grad-CAM of 20 patches, all at once, against tf-keras-vis patch by patch.

    python benchmarks/explain.py [--backbones resnet10 mobilenetv3_small] [--size 200] [--rounds 3]

Ours builds the model modifier once, traces once and takes the patches as batches; the library builds its modified model
at each call and runs it eagerly. Both read the same layer of the same model (random weights) and the maps are compared.
The first column of ours leaves out the one tracing, which is printed beside it.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import time
from typing import Any

import numpy as np
import tensorflow as tf
from support.drawings import line_drawings
from support.side_by_side import interleave, machine
from tabulate import tabulate
from tf_keras_vis.gradcam import Gradcam

from age_keras.backbones.registry import get_spec
from age_keras.config.model import ModelConfig
from age_keras.explain.cam import Explainer
from age_keras.models.age import build_age_model

PATCHES = 20


def compare(backbone: str, size: int, rounds: int) -> list[str]:
    model = build_age_model(backbone, ModelConfig(weights="none"), size, 1, median=20.0).predictor
    kernel = model.get_layer("head_output").kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape))
    patches = line_drawings(PATCHES, size)
    layer = get_spec(backbone).cam_layer
    start = time.perf_counter()
    explainer = Explainer(model, backbone)
    explainer.maps(patches, paper=np.nan)
    traced = time.perf_counter() - start
    options: dict[str, Any] = {"activation_modifier": None, "expand_cam": False, "normalize_cam": False}
    options |= {"penultimate_layer": layer, "seek_penultimate_conv_layer": False}
    found: dict[str, np.ndarray] = {}

    def ours() -> int:
        found["ours"] = explainer.maps(patches, paper=np.nan)
        return 1

    def theirs() -> int:
        visual = Gradcam(model)
        maps = [visual(lambda outputs: outputs[:, 0], patch[None].astype(np.float32), **options) for patch in patches]
        found["theirs"] = np.concatenate(maps)
        return 1

    times = interleave({"ours": ours, "theirs": theirs}, rounds)
    cells = np.prod(found["theirs"].shape[1:])
    large = tf.image.resize(found["theirs"][..., None] * cells, (size, size))[..., 0].numpy()
    difference = np.abs(large - found["ours"]).max() / np.abs(large).max()
    (wall, cpu), (their_wall, their_cpu) = times["ours"], times["theirs"]
    return [
        backbone,
        f"{their_wall:.2f}",
        f"{wall:.2f}",
        f"{their_wall / wall:.1f}",
        f"{their_cpu / cpu:.1f}",
        f"{traced - wall:.1f}",
        f"{difference:.0e}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["resnet10", "mobilenetv3_small"])
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    print(f"A page of {PATCHES} patches of {arguments.size} px, medians of {arguments.rounds} rounds in turns.\n")
    rows = [compare(name, arguments.size, arguments.rounds) for name in arguments.backbones]
    head = ["backbone", "tf-keras-vis, s", "ours, s", "ratio", "ratio of CPU time", "tracing once, s", "difference"]
    print(tabulate(rows, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
