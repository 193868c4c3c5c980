"""Fine-tuning the top of a backbone: a step on cached features of the frozen part against a plain step.

    python benchmarks/fine_tune.py [--backbones resnet50 densenet121 ...] [--ratios 0.05 0.1 0.25 0.5] [--size 224]

A plain step does 1 + 2s forward passes' work, where s is the share of the floating-point operations behind the
boundary: all of it forward, and backward (twice the forward work) through the unfrozen part. A cached step does 3s. So
the operations allow a ratio of (1 + 2s) / (3s); the table says how much of it is reached. The target is 85 % where s is
at least a tenth, 60 % below, where the fixed cost of a step shows. Both ways train the same model on the same batches
by Keras' `fit`, from the project's own feeds, in turns, in one process: pixels into the whole model, features from the
cache into the suffix. "calls" is how many steps Keras runs in one call of the cached way: all of an epoch where the
suffix is small, as in a training of many steps (`--calls one` has one each). `--xla` compiles the cached way.

With `--output FILE` every row is written there, a csv table, as soon as it is measured.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As importing age_keras does; it is for both ways here.

import argparse
import tempfile
import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from support.side_by_side import interleave, machine
from tabulate import tabulate

from age_keras.backbones import get_spec
from age_keras.config.age import RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.models.age import build_age_model, unfreeze
from age_keras.prefix import FeatureCache, cut_model
from age_keras.training.feeds import FeatureFeed, PatchData, PixelFeed

BACKBONES = (
    "resnet50",
    "inception_v3",
    "inception_resnet_v2",
    "densenet121",
    "efficientnetv2_m",
    "tinyvit_5m",
    "mobilevit_xxs",
)
FIELDS: tuple[str, ...] = (
    "backbone",
    "size",
    "unfreeze",
    "s",
    "KB/patch",
    "calls",
    "plain ms",
    "cached ms",
    "ratio",
    "limit",
)
FIELDS += ("% of limit", "target %", "met")


def measure(backbone: str, size: int, ratio: float, args) -> dict:
    """One row of the table."""
    keras.utils.set_random_seed(0)
    keras.backend.clear_session()
    age = build_age_model(backbone, ModelConfig(weights="none", batch_norm="inference"), size)
    unfreeze(age, ratio)
    cut = cut_model(age.trained)
    if cut.prefix is None:
        raise SystemExit(f"{backbone} has nothing to cache at {ratio}.")
    rng, n = np.random.default_rng(0), 2 * args.batch
    patches = rng.integers(0, 256, (n, size, size, 1), dtype=np.uint8)
    store: Any = types.SimpleNamespace(patches=patches, keys=np.arange(n, dtype=np.uint64))
    with tempfile.TemporaryDirectory() as folder:
        features = FeatureCache(folder, progress=False).features(cut, patches, store.keys)
    assert features is not None
    shared: dict[str, Any] = {
        "data": PatchData(store, rng.uniform(8, 60, (n, 1)).astype("float32")),
        "training": TrainingConfig(batch_size=args.batch, augment="none"),
        "runtime": RuntimeConfig(),
        "seed": 0,
        "views": 1,
    }
    features.views[0] = features.views[None]
    feeds = {"plain": PixelFeed(cut.whole, **shared), "cached": FeatureFeed(cut, features, features, **shared)}
    # Rows many times over, so that an epoch is long enough for what it costs besides its steps not to count.
    steps = {"plain": args.steps, "cached": int(args.steps * min(cut.limit, 100))}
    at_once = 1
    if args.calls == "auto":
        at_once = feeds["cached"].steps_at_once(np.resize(np.arange(n), steps["cached"] * args.batch), 1000)

    def way(name):
        feed, rows = feeds[name], np.resize(np.arange(n), steps[name] * args.batch)
        cached = (
            {"steps_per_execution": at_once, "jit_compile": args.xla} if name == "cached" else {"jit_compile": False}
        )
        feed.model.compile(keras.optimizers.Adam(1e-4), "mae", **cached)
        dataset = feed.train(rows, 0)

        def run():
            feed.model.fit(dataset, steps_per_epoch=steps[name], verbose=0)
            return steps[name]

        return run

    times = interleave({name: way(name) for name in feeds}, args.rounds)
    seconds = {name: cpu for name, (_, cpu) in times.items()}
    reached, s = seconds["plain"] / seconds["cached"], cut.suffix_fraction
    part, target = 100 * reached / cut.limit, 85 if s >= 0.1 else 60
    values = [backbone, size, ratio, f"{s:.4f}", f"{cut.bytes_per_example / 1024:.0f}", at_once]
    values += [f"{1e3 * seconds['plain']:.0f}", f"{1e3 * seconds['cached']:.1f}", f"{reached:.2f}"]
    values += [f"{cut.limit:.2f}", f"{part:.0f}", target, "yes" if part >= target else "no"]
    return dict(zip(FIELDS, values, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.05, 0.1, 0.25, 0.5])
    parser.add_argument("--size", type=int, default=224, help="pixels; a backbone that cannot takes its own")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6, help="of a turn of the plain way")
    parser.add_argument("--calls", choices=["auto", "one"], default="auto", help="steps in a call of the cached way")
    parser.add_argument("--xla", action="store_true", help="compile the cached way with XLA")
    parser.add_argument("--output", type=Path, help="a csv table to write")
    args = parser.parse_args()
    print(machine())
    print(f"Batch {args.batch}, processor time of a training step, float32.", flush=True)
    rows = []
    for backbone in args.backbones:
        spec = get_spec(backbone)
        fits = args.size >= spec.min_image_size and args.size % spec.size_multiple == 0
        for ratio in args.ratios:
            rows.append(measure(backbone, args.size if fits else spec.image_size, ratio, args))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
            if args.output:
                pd.DataFrame(rows).to_csv(args.output, index=False)
    print(tabulate(rows, headers="keys"))


if __name__ == "__main__":
    main()
