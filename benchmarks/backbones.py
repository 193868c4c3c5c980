"""Backbones forward and in a training step, beside the same network in PyTorch on the same threads, in one run.

    python benchmarks/backbones.py                                  # one variant a family
    python benchmarks/backbones.py --names swinv2_tiny beit_base --batch 8

Prints milliseconds an image (the best of a few rounds, which alternate between the two) and the ratio PyTorch / Keras:
over 1 is faster than PyTorch. Without torch and timm only Keras is timed.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from age_keras.backbones import build_backbone, get_spec

DEFAULT = ("mobilevit_xxs", "convnextv2_atto", "swinv2_tiny", "tinyvit_5m", "vit_tiny_16", "mit_b0")
TIMM = {
    "swinv2": "swinv2_{}_window8_256",
    "mobilevit": "mobilevit_{}",
    "beit": "beit_{}_patch16_224",
    "dit": "beit_{}_patch16_224",
    "convnextv2": "convnextv2_{}",
    "tinyvit": "tiny_vit_{}_224",
}


def keras_steps(name: str, batch: int):
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
            weight.assign_sub(1e-6 * gradient)

    return forward, train


def torch_steps(name: str, batch: int):
    """The same of timm's network, channels last; None without torch or timm, or where timm has not this one."""
    family, _, size = name.partition("_")
    try:
        import timm
        import torch
    except ImportError:
        return None
    if family not in TIMM:
        return None
    model = timm.create_model(TIMM[family].format(size), num_classes=0).to(memory_format=torch.channels_last)
    side = get_spec(name).image_size
    x = torch.randn(batch, 3, side, side).to(memory_format=torch.channels_last)

    def forward():
        model.eval()
        with torch.inference_mode():
            model.forward_features(x)

    def train():
        model.train()
        loss = model.forward_features(x).square().mean()
        model.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            for weight in model.parameters():
                if weight.grad is not None:
                    weight -= 1e-6 * weight.grad

    return forward, train


def best_times(functions: list, rounds: int) -> list[float]:
    """Seconds of each function, the best of `rounds` in turn, after one call that is not timed."""
    for function in functions:
        function()
    times = [[] for _ in functions]
    for _ in range(rounds):
        for function, row in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            row.append(time.perf_counter() - start)
    return [min(row) for row in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", nargs="+", default=DEFAULT)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{'backbone':<18}{'step':<10}{'Keras ms':>10}{'PyTorch ms':>12}{'ratio':>8}")
    for name in arguments.names:
        theirs = torch_steps(name, arguments.batch)
        for i, (step, ours) in enumerate(zip(("forward", "train"), keras_steps(name, arguments.batch), strict=True)):
            times = best_times([ours] + ([theirs[i]] if theirs else []), arguments.rounds)
            shown = [f"{1000 * t / arguments.batch:.1f}" for t in times]
            ratio = f"{times[1] / times[0]:.2f}" if theirs else ""
            print(f"{name:<18}{step:<10}{shown[0]:>10}{shown[1] if theirs else '-':>12}{ratio:>8}", flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
