"""The head phase of a cross-validation: 5 folds x 50 epochs on a frozen ResNet50, ours against Keras' `fit`.

    python benchmarks/head_phase.py [--size 224] [--views 1 8] [--prefix-compute bfloat16] [--sample 48] [--full]

Plain: one Keras `fit` a fold, the backbone frozen, patches augmented on the fly by our own warp (so the ratio owes
nothing to the augmentation), each epoch validated on the fold left out. Ours: the prefix runs once over every patch and
each of its augmented copies, then the heads of all folds train together on the features. Same patches, copies, order.

Without `--full` the times of an image are measured on `--sample` patches, plain and ours in turns, and the totals for
`--patches` patches are *extrapolated* from them; with `--full` everything runs on `--sample` patches as they are.
Processor time counts, so that other work on the machine does not. Our total has the prefix pass in it, its bound: plain
runs the backbone folds x epochs times over the pages, ours once for each view and once for the pages as they are.

With `--prefix-compute bfloat16` our prefix runs in bfloat16, and stands beside Keras' `fit` in float32, which is what
one gets without asking, and beside `fit` under the policy `mixed_bfloat16`. What it does to the errors:
`prefix_compute.py`.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As importing age_keras does; it is for both ways here.

import argparse
import dataclasses
import tempfile
import time

import keras
import numpy as np
import tensorflow as tf
from support.side_by_side import interleave, machine
from tabulate import tabulate

from age_keras.config.age import PhaseConfig
from age_keras.config.model import ModelConfig
from age_keras.data.batches.augment import get_policy
from age_keras.data.batches.pipeline import batches
from age_keras.models.age import build_age_model, unfreeze
from age_keras.prefix import FeatureCache, Wanted, cut_model
from age_keras.prefix.compute import PrefixPass
from age_keras.prefix.features import View
from age_keras.training.heads.linear import HeadSettings, LinearHeads

SEED = 0


def frozen_model(backbone: str, size: int, policy: str = "float32") -> keras.Model:
    """A compiled age model whose head alone trains."""
    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(policy)
    age = build_age_model(backbone, ModelConfig(weights="none", batch_norm="inference"), size)
    keras.config.set_dtype_policy("float32")
    unfreeze(age, 0.0)
    age.trained.compile(keras.optimizers.Adam(1e-3), "mae")
    return age.trained


def head_settings(fold: np.ndarray) -> list[HeadSettings]:
    """One head for each fold, without early stopping: all epochs are run."""
    phase = PhaseConfig(epochs=1, learning_rate=1e-3, schedule="constant", stop_patience=10**6)
    return [HeadSettings(fold != k, fold == k, phase) for k in np.unique(fold)]


def measure(args, views: int) -> dict[str, float]:
    """Processor seconds of an image in each kind of work."""
    rng = np.random.default_rng(SEED)
    patches = rng.integers(0, 256, (args.sample, args.size, args.size, 1), dtype=np.uint8)
    patches.flags.writeable = False
    ages = rng.uniform(8, 60, args.sample).astype("float32")
    keys = np.arange(1, args.sample + 1, dtype=np.uint64)
    policy = get_policy("published" if views > 1 else "none")
    model = frozen_model(args.backbone, args.size)
    cut = cut_model(model)
    order = {"batch_size": args.batch, "seed": SEED}

    def train(model=model):
        copies = batches(patches, ages, keys, shuffle=True, policy=policy, views=views, epochs=1, **order)
        model.fit(copies, verbose=0)
        return args.sample

    def validate(model=model):
        model.evaluate(batches(patches, ages, keys, shuffle=False, epochs=1, **order), verbose=0)
        return args.sample

    as_they_are = Wanted(cut, patches, keys)
    augmented = dataclasses.replace(as_they_are, views=range(views), policy=policy, seed=SEED)
    plain, copied = (PrefixPass(each, computed_in=args.prefix_compute) for each in (as_they_are, augmented))
    rows = np.arange(args.sample)

    def prefix():
        list(copied.compute(rows, 0 if views > 1 else None))
        return args.sample

    def prefix_plain():
        list(plain.compute(rows, None))
        return args.sample

    with tempfile.TemporaryDirectory() as folder:
        many = 4096  # Rows, so that what an epoch costs besides its rows does not count for the sample alone.
        cache = FeatureCache(folder, progress=False)
        small = cache.features(cut, patches, keys)
        assert small is not None
        repeated = np.resize(rows, many)
        features = small.views[None].arrays[0][repeated]
    small.views.update({None: View([features], np.arange(many))})
    heads = LinearHeads(head_settings(np.arange(many) % args.folds))
    many_keys = np.arange(many, dtype=np.uint64)

    def train_heads():
        heads.fit(small, small, ages[repeated], many_keys, epochs=10, batch_size=args.batch)
        return 10 * many

    ways = {"train": train, "validate": validate, "prefix": prefix, "prefix_plain": prefix_plain}
    if args.prefix_compute != "float32":
        mixed = frozen_model(args.backbone, args.size, "mixed_bfloat16")
        ways |= {"train_mixed": lambda: train(mixed), "validate_mixed": lambda: validate(mixed)}
    seconds = {name: cpu for name, (_, cpu) in interleave(ways, args.rounds).items()}
    seconds["heads"] = interleave({"heads": train_heads}, 1)["heads"][1]
    return seconds


def totals(args, views: int, seconds: dict[str, float], patches: int) -> tuple[float, float | None, float, float]:
    """Processor seconds of the whole: plain, plain in mixed precision, ours; and the ratio of the forward passes."""
    share = 1 / args.folds

    def plain(kind=""):
        epoch = (1 - share) * seconds["train" + kind] + share * seconds["validate" + kind]
        return args.folds * args.epochs * patches * epoch

    passes = [seconds["prefix_plain"]] if views == 1 else [views * seconds["prefix"], seconds["prefix_plain"]]
    ours = patches * sum(passes) + args.epochs * patches * seconds["heads"]
    mixed = plain("_mixed") if "train_mixed" in seconds else None
    return plain(), mixed, ours, args.folds * args.epochs / (1 if views == 1 else views + 1)


def run_everything(args, views: int) -> tuple[float, float]:
    """Both ways from start to end on the sample: processor seconds, tracing included."""
    rng = np.random.default_rng(SEED)
    patches = rng.integers(0, 256, (args.sample, args.size, args.size, 1), dtype=np.uint8)
    ages = rng.uniform(8, 60, args.sample).astype("float32")
    keys, fold = np.arange(1, args.sample + 1, dtype=np.uint64), np.arange(args.sample) % args.folds
    policy, order = get_policy("published" if views > 1 else "none"), {"batch_size": args.batch, "seed": SEED}
    begin = time.process_time()
    for k in range(args.folds):
        rows, held_out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        model = frozen_model(args.backbone, args.size)
        train = batches(patches, ages, keys, shuffle=True, policy=policy, views=views, indices=rows, **order)
        validation = batches(patches, ages, keys, shuffle=False, epochs=1, indices=held_out, **order)
        steps = -(-len(rows) // args.batch)
        model.fit(train, steps_per_epoch=steps, epochs=args.epochs, validation_data=validation, verbose=0)
    plain = time.process_time() - begin
    begin = time.process_time()
    cut = cut_model(frozen_model(args.backbone, args.size))
    with tempfile.TemporaryDirectory() as folder:
        cache = FeatureCache(folder, computed_in=args.prefix_compute)
        as_they_are = Wanted(cut, patches, keys)
        augmented = dataclasses.replace(as_they_are, views=range(views), policy=policy, seed=SEED)
        found = cache.together([augmented, as_they_are])
    assert found is not None
    copies, plain_features = found
    LinearHeads(head_settings(fold)).fit(
        copies, plain_features, ages, keys, epochs=args.epochs, batch_size=args.batch, views=views, seed=SEED
    )
    return plain, time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--views", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--patches", type=int, default=10_000, help="of the extrapolated cross-validation")
    parser.add_argument("--sample", type=int, default=48, help="patches that are measured")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefix-compute", default="float32", help="float32, or bfloat16: of our prefix pass")
    parser.add_argument("--full", action="store_true", help="run everything instead of extrapolating")
    args = parser.parse_args()
    print(machine())
    print(f"{args.backbone}, {args.size} px, batch {args.batch}, {args.folds} folds x {args.epochs} epochs, head only.")
    rows = []
    for views in args.views:
        if args.full:
            plain, ours = run_everything(args, views)
            print(
                f"{views} view(s), measured in full on {args.sample} patches: plain {plain:.0f} s, ours {ours:.1f} s,"
            )
            print(f"ratio {plain / ours:.1f} (processor time, tracing included).", flush=True)
            continue
        seconds = measure(args, views)
        plain, mixed, ours, limit = totals(args, views, seconds, args.patches)
        step = args.folds * (1 - 1 / args.folds) * seconds["train"] / seconds["heads"]
        times = [f"{1e3 * seconds[name]:.2f}" for name in ("train", "validate", "prefix", "prefix_plain")]
        heads = f"{1e6 * seconds['heads']:.0f}"
        rows.append([views, *times, heads, f"{step:.0f}", f"{plain / 3600:.1f}", f"{ours / 3600:.3f}"])
        rows[-1] += [f"{plain / ours:.0f}", f"{mixed / ours:.0f}" if mixed else "", f"{limit:.0f}"]
        tf.keras.backend.clear_session()
    if rows:
        print(f"Totals for {args.patches} patches are EXTRAPOLATED from {args.sample} measured ones. Processor time.")
        names = ["views", "plain train ms", "plain val ms", "prefix copy ms", "prefix ms", "all heads us"]
        names += ["steps alone x", "plain h", "ours h", "ratio", "to mixed_bfloat16", "limit of passes"]
        print(tabulate(rows, names))


if __name__ == "__main__":
    main()
