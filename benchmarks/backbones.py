"""Backbones forward and in a training step, beside the same network in PyTorch on the same thread, in one run.

    python benchmarks/backbones.py                                  # one variant a family
    python benchmarks/backbones.py --names swinv2_tiny beit_base --batch 8
    TF_ENABLE_ONEDNN_OPTS=1 python benchmarks/backbones.py          # as `age-keras` and `python -m experiments` run

Prints a Markdown table: processor milliseconds an image (the best of a few rounds, which alternate between the two) and
PyTorch's over ours: over 1 is faster than PyTorch. Both compute on `--threads` threads. PyTorch's network is timm's, in
the faster of its two memory layouts, or NVIDIA's FasterViT; where none is installed, only ours is timed.
"""

import argparse
import gc
import importlib.util
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from age_keras.backbones import build_backbone, get_spec

DEFAULT = (
    "mobilevit_xxs",
    "convnextv2_atto",
    "swinv2_tiny",
    "beit_base",
    "tinyvit_5m",
    "fastervit_0",
    "vit_tiny_16",
    "mit_b0",
)
TIMM = {
    "beit": "beit_{}_patch16_224",
    "convnextv2": "convnextv2_{}",
    "densenet121": "densenet121",
    "dit": "beit_{}_patch16_224",
    "mobilevit": "mobilevit_{}",
    "resnet50": "resnet50",
    "swinv2": "swinv2_{}_window8_256",
    "tinyvit": "tiny_vit_{}_224",
    "vit": "vit_{}_patch{}_224",
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
    family, _, size = name.partition("_")
    if not all(importlib.util.find_spec(module) for module in ("torch", "timm")):
        return None
    import timm

    if family == "fastervit":
        try:
            from fastervit.models import faster_vit
        except ImportError:
            return None
        return getattr(faster_vit, f"faster_vit_{size}_224")()
    return timm.create_model(TIMM[family].format(*size.split("_")), num_classes=0) if family in TIMM else None


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
    for name in arguments.names:
        print(f"| {' | '.join(measured(name, arguments.batch, arguments.rounds))} |", flush=True)
        keras.backend.clear_session()
        gc.collect()


if __name__ == "__main__":
    main()
