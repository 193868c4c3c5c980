"""What a pass through the frozen layers costs in bfloat16, and how far its features are from those in float32.

    python benchmarks/prefix_compute.py [--backbones resnet50 ...] [--size 224] [--ratios 0 0.25]
    python benchmarks/prefix_compute.py --heads [--backbones resnet10] [--weights FILE] [--data DIR] [--size 64]

Four ways, in turns, in one process, each in batches of 32 drawn patches: as the cache does it by default (float32, to
the last bit what plain training computes); the same with weights as constants, so that TensorFlow fuses convolution,
normalisation and activation (float32, rounded differently); in bfloat16, as `--runtime.prefix-compute bfloat16` has it;
and a Keras model under `mixed_bfloat16`, which is what plain training in bfloat16 would run. The error is the root mean
square of the difference to the first over that of the features: rounding to bfloat16 alone is 0.0017. Processor time.
Weights are random; batch normalisation has the statistics of the patches, without which deep features all but vanish.

With `--heads`: what it does to the errors. Linear heads of five folds, disjoint by writer, train for 50 epochs on the
features of all pages (`--data`, or those of `--writers` synthetic ones), once in float32 and once in bfloat16. Their
losses and the errors of the pages left out are compared, with a bootstrap interval over writers of the difference.
"""

import os
from collections.abc import Callable
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As importing age_keras does; it is for all ways here.

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from support.drawings import line_drawings
from support.side_by_side import interleave, machine
from tabulate import tabulate

from age_keras.backbones import get_spec
from age_keras.config.age import PhaseConfig
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.data.patches.store import PatchStore
from age_keras.data.splits import repeated_kfold
from age_keras.data.synthetic.cohort import synthesize
from age_keras.data.table.samples import read_samples
from age_keras.evaluation.bootstrap import bootstrap_scores, percentile_interval, writer_weights
from age_keras.evaluation.metrics import score
from age_keras.models.age import build_age_model, unfreeze
from age_keras.prefix import CutModel, FeatureCache, cut_model
from age_keras.prefix.compute import BATCH
from age_keras.prefix.low_precision import in_low_precision, relative_error
from age_keras.training.heads.linear import HeadSettings, LinearHeads

BACKBONES: tuple[str, ...] = (
    "resnet50",
    "inception_v3",
    "inception_resnet_v2",
    "densenet121",
    "efficientnetv2_m",
    "tinyvit_5m",
)
BACKBONES += ("mobilevit_xxs", "swinv2_tiny")


def cut(backbone: str, size: int, ratio: float, policy: str = "float32") -> CutModel:
    """The same network, cut, under a policy of Keras."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    try:
        age = build_age_model(backbone, ModelConfig(weights="none", batch_norm="inference"), size)
    finally:
        keras.config.set_dtype_policy("float32")
    unfreeze(age, ratio)
    return cut_model(age.trained)


def settle(model: keras.Model, patches: np.ndarray) -> None:
    """Gives batch normalisation the statistics of some patches."""
    found = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [(layer.momentum, layer.trainable) for layer in found]
    for layer in found:
        layer.momentum, layer.trainable = 0.0, True
    if found:
        model(patches, training=True)
    for layer, (momentum, trainable) in zip(found, before, strict=True):
        layer.momentum, layer.trainable = momentum, trainable


def work(run: Callable, patches: np.ndarray) -> int:
    """One pass over the patches, and how many they are."""
    for x in run(patches):
        np.asarray(x)
    return len(patches)


def measure(backbone: str, size: int, ratio: float, rounds: int) -> list:
    """One row of the table."""
    keras.backend.clear_session()
    patches = line_drawings(BATCH, size)
    signature = [tf.TensorSpec(patches.shape, patches.dtype)]
    split, mixed = cut(backbone, size, ratio), cut(backbone, size, ratio, "mixed_bfloat16")
    settle(split.model, patches)
    mixed.model.set_weights(split.model.get_weights())
    ways = {
        "float32": tf.function(split.prefix, input_signature=signature, autograph=False),
        "fused": in_low_precision(split.prefix, signature, "float32"),
        "bfloat16": in_low_precision(split.prefix, signature, "bfloat16"),
        "mixed": tf.function(mixed.prefix, input_signature=signature, autograph=False),
    }
    features = {name: [np.asarray(tf.cast(x, tf.float32)) for x in run(patches)] for name, run in ways.items()}
    timed = {name: partial(work, run, patches) for name, run in ways.items()}
    seconds = {name: cpu for name, (_, cpu) in interleave(timed, rounds).items()}
    errors = [relative_error(features["float32"], features[name]) for name in ("fused", "bfloat16", "mixed")]
    times = [f"{1e3 * seconds[name]:.1f}" for name in ways]
    faster = [f"{seconds['float32'] / seconds['bfloat16']:.2f}", f"{seconds['mixed'] / seconds['bfloat16']:.2f}"]
    return [backbone, size, ratio, *times, *faster, *(f"{error:.1e}" for error in errors)]


def heads(backbone: str, args) -> None:
    """Heads on features in float32 and on those in bfloat16: losses, and errors of the pages left out."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = args.data or synthesize(Path(folder) / "cohort", writers=args.writers, progress=False)
        samples = read_samples(cohort)
        if args.source:
            samples = samples.subset((samples.table["Source"] == args.source).to_numpy())
        store = PatchStore.open(samples, PageSettings(image_size=args.size, channels=1), cache=Path(folder))
        table, config = samples.table, ModelConfig(args.weights, batch_norm="inference")
        age = build_age_model(backbone, config, args.size, seed=0)
        if args.weights == "none":
            settle(age.trained, store.patches[:: max(1, len(store) // BATCH)])
        unfreeze(age, 0.0)
        split, fold = cut_model(age.trained), repeated_kfold(table, 5, 1, 0, ())[0]
        ages, writers = table["Age"].to_numpy(np.float32), pd.factorize(table["Writer"])[0]
        median = np.array([np.median(ages[fold != k]) for k in fold])
        phase = PhaseConfig(50, 1e-3)
        settings = [
            HeadSettings(
                fold[store.page] != k, fold[store.page] == k, phase, "mse", bias=float(np.median(ages[fold != k]))
            )
            for k in np.unique(fold)
        ]
        predictions, losses = [median], []
        for precision in ("float32", "bfloat16"):
            features = FeatureCache(folder, computed_in=precision).features(split, store.patches, store.keys)
            assert features is not None
            computed_in = features.computed_in
            fit = LinearHeads(settings).fit(
                features, features, ages[store.page], store.keys, epochs=50, batch_size=32, views=1
            )
            every = features.gather(np.arange(len(store)))[0]
            years = np.select([fold[store.page] == k for k in np.unique(fold)], [h.predict(every)[:, 0] for h in fit])
            predictions.append(pd.Series(years).groupby(store.page).mean().to_numpy())
            losses.append(np.array([head.history[head.best_epoch]["loss"] for head in fit]))
    draws = bootstrap_scores(ages, np.array(predictions), writers, writer_weights(writers.max() + 1))["MAE"]
    constant, exact, other = score(ages, np.array(predictions))["MAE"]
    low, high = percentile_interval(draws[2] - draws[1])
    apart = np.abs(predictions[1] - predictions[2])
    print(f"{backbone}, {args.size} px, weights {args.weights}: {len(store)} patches of {len(table)} pages.")
    if computed_in != "bfloat16":
        print(f"  MAE: constant {constant:.3f}, float32 {exact:.3f}; bfloat16 was refused: nothing differs.")
        return
    print(f"  MAE: constant {constant:.3f}, float32 {exact:.3f}, bfloat16 {other:.3f} years; bfloat16 minus float32")
    print(f"  {other - exact:+.4f}, 95 % interval over writers {low:+.4f} to {high:+.4f};", end=" ")
    print(f"a page's prediction differs by {apart.mean():.3f} years on average, {apart.max():.3f} at most.")
    print(f"  losses of the five folds: at most {100 * np.max(np.abs(losses[1] / losses[0] - 1)):.2f} % apart.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.0, 0.25], help="shares of the layers unfrozen")
    parser.add_argument("--size", type=int, default=224, help="pixels; a backbone that cannot takes its own")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--heads", action="store_true", help="what it does to the errors of heads")
    parser.add_argument("--weights", default="none", help="of --heads: none, imagenet or a file")
    parser.add_argument("--data", type=Path, help="of --heads: a folder of pages; none draws some")
    parser.add_argument("--source", help="of --heads: keep only the pages from this source")
    parser.add_argument("--writers", type=int, default=60, help="of --heads: of the synthetic cohort")
    args = parser.parse_args()
    print(machine())
    if args.heads:
        for backbone in args.backbones:
            heads(backbone, args)
        return
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
