"""What a pass through the frozen layers costs in bfloat16, and how far its features are from those in float32.

    python benchmarks/prefix_compute.py [--backbones resnet50 ...] [--size 224] [--ratios 0 0.25]

Four ways, in turns, in one process, each in batches of 32 drawn patches: as the cache does it by default (float32, to
the last bit what plain training computes); the same with weights as constants, so that TensorFlow fuses convolution,
normalisation and activation (float32, rounded differently); in bfloat16, as `--runtime.prefix-compute bfloat16` does it;
and a Keras model under `mixed_bfloat16`, which is what plain training in bfloat16 would run. The error is the root mean
square of the difference to the first over that of the features: rounding to bfloat16 alone is 0.0017. Processor time.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As importing age_keras does; it is for all ways here.

import argparse

import keras
import numpy as np
import tensorflow as tf
from drawings import line_drawings
from side_by_side import interleave, machine
from tabulate import tabulate

from age_keras.backbones import get_spec
from age_keras.models.age import ModelConfig, build_age_model, unfreeze
from age_keras.training.prefix import Split, split_model
from age_keras.training.prefix_pass import BATCH
from age_keras.training.reduced import reduced, relative_error

BACKBONES = ("resnet50", "inception_v3", "inception_resnet_v2", "densenet121", "efficientnetv2_m", "tinyvit_5m")
BACKBONES += ("mobilevit_xxs", "swinv2_tiny", "convnextv2_atto")


def cut(backbone: str, size: int, ratio: float, policy: str = "float32") -> Split:
    """The same network, cut, under a policy of Keras."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        age = build_age_model(ModelConfig(backbone=backbone, weights="none", batch_norm="inference"), size)
    finally:
        keras.config.set_dtype_policy("float32")
    unfreeze(age, ratio)
    return split_model(age.trained)


def measure(backbone: str, size: int, ratio: float, rounds: int) -> list:
    """One row of the table."""
    keras.backend.clear_session()
    patches = line_drawings(BATCH, size)
    signature = [tf.TensorSpec(patches.shape, patches.dtype)]
    split, mixed = cut(backbone, size, ratio), cut(backbone, size, ratio, "mixed_bfloat16")
    ways = {
        "float32": tf.function(split.prefix, input_signature=signature, autograph=False),
        "fused": reduced(split.prefix, signature, "float32"),
        "bfloat16": reduced(split.prefix, signature, "bfloat16"),
        "mixed": tf.function(mixed.prefix, input_signature=signature, autograph=False),
    }
    features = {name: [np.asarray(tf.cast(x, tf.float32)) for x in run(patches)] for name, run in ways.items()}
    timed = {name: lambda run=run: [np.asarray(x) for x in run(patches)] and len(patches) for name, run in ways.items()}
    seconds = {name: cpu for name, (_, cpu) in interleave(timed, rounds).items()}
    errors = [relative_error(features["float32"], features[name]) for name in ("fused", "bfloat16", "mixed")]
    times = [f"{1e3 * seconds[name]:.1f}" for name in ways]
    faster = [f"{seconds['float32'] / seconds['bfloat16']:.2f}", f"{seconds['mixed'] / seconds['bfloat16']:.2f}"]
    return [backbone, size, ratio, *times, *faster, *(f"{error:.1e}" for error in errors)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.25], help="shares of the layers unfrozen")
    parser.add_argument("--size", type=int, default=224, help="pixels; a backbone that cannot takes its own")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    print(machine())
    rows = []
    for backbone in args.backbones:
        spec = get_spec(backbone)
        fits = args.size >= spec.min_image_size and args.size % spec.size_multiple == 0
        for ratio in args.ratios:
            rows.append(measure(backbone, args.size if fits else spec.image_size, ratio, args.rounds))
            print(*rows[-1], flush=True)
    names = [
        "backbone",
        "px",
        "unfrozen",
        "float32 ms",
        "fused ms",
        "bfloat16 ms",
        "Keras mixed ms",
        "times",
        "of mixed",
    ]
    print(tabulate(rows, [*names, "error fused", "error bfloat16", "error mixed"], tablefmt="github"))


if __name__ == "__main__":
    main()
