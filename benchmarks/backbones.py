"""Backbones forward and in a training step, beside the same network in PyTorch on the same thread, in one run.

    python benchmarks/backbones.py                                  # the CNNs and one transformer a family
    python benchmarks/backbones.py --names all                      # the whole registry: half an hour
    python benchmarks/backbones.py --names swinv2_tiny beit_base --batch 8

Prints a Markdown table: processor milliseconds an image (the best of a few rounds, which alternate between the two) and
PyTorch's over ours: over 1 is faster than PyTorch. Both compute on `--threads` threads. PyTorch's network is timm's, in
the faster of its two memory layouts, or NVIDIA's FasterViT; where none is installed, or none exists (keras-cv's MiT,
resnet10, vit_tiny_32), only ours is timed. oneDNN is on, as importing age_keras before TensorFlow has it.
"""

import argparse
import gc
import importlib.util
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf

from age_keras.backbones import build_backbone, get_spec, names

DEFAULT = (
    "resnet50",
    "inception_v3",
    "inception_resnet_v2",
    "densenet121",
    "efficientnetv2_m",
    "mobilenetv3_small",
    "mobilevit_xxs",
    "convnextv2_atto",
    "swinv2_tiny",
    "tinyvit_5m",
    "fastervit_0",
    "vit_tiny_16",
    "beit_base",
    "mit_b0",
)
# timm's name of a backbone, by the beginning of ours; `{}` is the rest.
TIMM = {
    "beit_": "beit_{}_patch16_224",
    "convnextv2_": "convnextv2_{}",
    "densenet121": "densenet121",
    "dit_": "beit_{}_patch16_224",
    "efficientnetv2_m": "tf_efficientnetv2_m",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "mobilenetv3_small": "tf_mobilenetv3_small_100",
    "mobilevit_": "mobilevit_{}",
    "resnet50": "resnet50",
    "swinv2_": "swinv2_{}_window8_256",
    "tinyvit_": "tiny_vit_{}_224",
    "vit_base_": "vit_base_patch{}_224",
    "vit_small_": "vit_small_patch{}_224",
    "vit_tiny_16": "vit_tiny_patch16_224",
}
TIMM_OPTIONS = {
    "dit_": {"use_abs_pos_emb": True, "use_rel_pos_bias": False},
    "inception_v3": {"aux_logits": False},
}
Step = Callable[[], None]


def keras_steps(name: str, batch: int) -> tuple[Step, Step]:
    """The model's forward pass and training step (SGD on the mean of the squared features), compiled."""
    model = build_backbone(name, preprocessing="none")
    x = tf.constant(np.random.default_rng(0).standard_normal((batch, *model.input_shape[1:])).astype("float32"))
    weights = [v.value for v in model.trainable_variables]

    @tf.function
    def forward():
        return model(x, training=False)

    @tf.function
    def train():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True)))
        for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
            weight.assign_sub(1e-6 * tf.convert_to_tensor(gradient))  # an embedding's is sparse

    return forward, train


def torch_network(name: str):
    """The same network in PyTorch; None where there is none, or PyTorch is not installed."""
    if not all(importlib.util.find_spec(module) for module in ("torch", "timm")):
        return None
    import timm

    if name.startswith("fastervit_"):
        try:
            from fastervit.models import faster_vit
        except ImportError:
            return None
        return getattr(faster_vit, f"faster_vit_{name[-1]}_224")()
    beginning = next((beginning for beginning in TIMM if name.startswith(beginning)), None)
    if beginning is None:
        return None
    options = TIMM_OPTIONS.get(beginning, {})
    return timm.create_model(TIMM[beginning].format(name.removeprefix(beginning)), num_classes=0, **options)


def torch_steps(network, side: int, batch: int, channels_last: bool) -> tuple[Step, Step]:
    """Forward pass and training step of a PyTorch network."""
    import torch

    memory = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=memory)
    x = torch.randn(batch, 3, side, side).to(memory_format=memory)

    def forward():
        network.eval()
        with torch.inference_mode():
            network.forward_features(x)

    def train():
        network.train()
        loss = network.forward_features(x).square().mean()
        network.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            for weight in network.parameters():
                if weight.grad is not None:
                    weight -= 1e-6 * weight.grad

    return forward, train


def best_times(steps: list[Step], rounds: int) -> list[float]:
    """Processor seconds of each step, the best of `rounds` in turn, after one call that is not timed."""
    for step in steps:
        step()
    times = [[] for _ in steps]
    for _ in range(rounds):
        for step, row in zip(steps, times, strict=True):
            start = time.process_time()
            step()
            row.append(time.process_time() - start)
    return [min(row) for row in times]


def measured(name: str, batch: int, rounds: int) -> list[str]:
    """One row of the table."""
    ours = keras_steps(name, batch)
    network, side = torch_network(name), get_spec(name).image_size
    cells = [name, str(side)]
    for i in (0, 1):
        if network is None:
            cells += [f"{1000 * best_times([ours[i]], rounds)[0] / batch:.1f}", "–", "–"]
            continue
        both = []
        for channels_last in (False, True):
            times = best_times([ours[i], torch_steps(network, side, batch, channels_last)[i]], rounds)
            both.append(times)
        mine, theirs = (min(column) for column in zip(*both, strict=True))
        cells += [f"{1000 * mine / batch:.1f}", f"{1000 * theirs / batch:.1f}", f"{theirs / mine:.2f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=DEFAULT)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    try:
        import torch

        torch.set_num_threads(arguments.threads)
    except ImportError:
        print("PyTorch is not installed: only Keras is timed.")
    columns = "| backbone | input | forward, ms | PyTorch | ratio | training step, ms | PyTorch | ratio |"
    print(f"{columns}\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for name in names() if arguments.names == ["all"] else arguments.names:
        print(f"| {' | '.join(measured(name, arguments.batch, arguments.rounds))} |", flush=True)
        keras.backend.clear_session()
        gc.collect()


if __name__ == "__main__":
    main()
