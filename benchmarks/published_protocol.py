"""The published pipeline, written plainly, against ours: five folds, both phases, at equal epochs on the same pages.

    python benchmarks/published_protocol.py [--backbone resnet50] [--pages 12] [--epochs 50 10] [--data DIR] [--full]

Plainly: each epoch decodes and rescales every page again (Lanczos, shorter side 800 px), cuts its patches, augments
three float channels by a chain of Keras layers, and trains with Keras' `fit`: 50 epochs of the head, then 10 with the
top quarter of the backbone unfrozen, validating each epoch. Ours: the patch store, one fused warp, four augmented
copies a patch, and the frozen prefix computed once for all folds, by the project's own `train`. The plain network is
normalised as ours is, so that no difference of the errors comes from the study's `/255`.

Pages: `--data DIR`, or those of `--writers` synthetic writers. Without `--full` an epoch of every kind is measured on
`--pages` of them and their five-fold cross-validation is *extrapolated*. With `--full` both ways are run to the end on
all pages, ours with the frozen layers in bfloat16 too, and the errors are compared page by page, with a bootstrap
interval over writers of the difference, and with the median of the training writers. Processor time.
"""

import os
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As importing age_keras does; it is for both ways here.

import argparse
import tempfile
import time
from pathlib import Path
from typing import Literal

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image
from support.side_by_side import machine

from age_keras.config.age import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.data.patches.store import PatchStore
from age_keras.data.splits import repeated_kfold
from age_keras.data.synthetic.cohort import synthesize
from age_keras.data.table.samples import read_samples
from age_keras.evaluation.bootstrap import bootstrap_scores, percentile_interval, writer_weights
from age_keras.evaluation.metrics import score
from age_keras.models.age import build_age_model, unfreeze
from age_keras.training.feeds import PatchData, make_feed
from age_keras.training.model_pool import ModelPool
from age_keras.training.phases import PhasePlan
from age_keras.training.protocol import Part, train

FOLDS, VIEWS, UNFREEZE = 5, 4, 0.25
RATES = (1e-3, 1e-4)


def configuration(args, prefix_compute: Literal["float32", "bfloat16"]) -> AgeConfig:
    frozen, fine_tune = [
        PhaseConfig(epochs, rate, unfreeze=share, stop_patience=10**6)
        for epochs, rate, share in zip(args.epochs, RATES, (0.0, UNFREEZE), strict=True)
    ]
    return AgeConfig(
        backbones=(args.backbone,),
        model=ModelConfig(weights=args.weights, batch_norm="inference", loss="mse"),
        pages=PageSettings(image_size=args.size, channels=1),
        training=TrainingConfig(frozen, fine_tune, batch_size=args.batch, augment="published", views=VIEWS),
        runtime=RuntimeConfig(tensorboard=False, prefix_compute=prefix_compute),
        bands=(),  # Five folds of few writers cannot each have every band.
    )


def plain_patches(paths, ages, size):
    """Decodes every page again, and cuts it: yields (patch float32 (size, size, 3) of [0, 1], age)."""
    for path, age in zip(paths, ages, strict=True):
        image = Image.open(path).convert("RGB")
        scale = 800 / min(image.size)
        width, height = (round(side * scale) for side in image.size)
        page = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
        for top in range(0, page.shape[0] - 399, 200):
            for left in range(0, page.shape[1] - 399, 200):
                patch = Image.fromarray(page[top : top + 400, left : left + 400])
                patch = patch.resize((size, size), Image.Resampling.BICUBIC)
                yield np.asarray(patch, np.float32) / 255, np.array([age], np.float32)


def plain_dataset(args, samples, pages, augment: bool) -> tf.data.Dataset:
    """The published input pipeline."""
    paths = [samples.paths[page] for page in pages]
    ages = samples.table["Age"].to_numpy()[pages]
    signature = (tf.TensorSpec((args.size, args.size, 3)), tf.TensorSpec((1,)))
    dataset = tf.data.Dataset.from_generator(lambda: plain_patches(paths, ages, args.size), output_signature=signature)
    dataset = dataset.batch(args.batch)
    if augment:
        layers = keras.layers
        chain = [layers.RandomRotation(15 / 360), layers.RandomZoom(0.1)]
        chain += [layers.RandomBrightness(0.1, (0, 1)), layers.RandomContrast(0.25, (0, 1))]
        chain += [layers.GaussianNoise(0.05)]

        def augmented(x, y):
            for layer in chain:
                x = layer(x, training=True)
            return x, y

        dataset = dataset.map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.prefetch(tf.data.AUTOTUNE)


def plain_model(args, share: float):
    config = ModelConfig(args.weights, batch_norm="inference", loss="mse")
    age = build_age_model(args.backbone, config, args.size, 3, median=20.0)
    age.trained.get_layer("preprocessing").scale = 1.0  # Pixels come divided by 255 already.
    unfreeze(age, share)
    return age


def processor_seconds(call) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin


def sampled(args, samples, folder: Path) -> tuple[float, float]:
    """Totals of both for five folds on these pages, from one epoch of each kind after a first that traces."""
    pages = np.arange(len(samples.table))
    share = 1 / FOLDS
    plain = 0.0
    for epochs, rate, unfrozen in zip(args.epochs, RATES, (0.0, UNFREEZE), strict=True):
        model = plain_model(args, unfrozen).trained
        model.compile(keras.optimizers.Adam(rate), "mse", metrics=["mae"])
        training = plain_dataset(args, samples, pages, True)
        validation = plain_dataset(args, samples, pages, False)
        model.fit(training.take(1), verbose=0)
        model.evaluate(validation.take(1), verbose=0)
        train_epoch = processor_seconds(lambda m=model, d=training: m.fit(d, verbose=0))
        check_epoch = processor_seconds(lambda m=model, d=validation: m.evaluate(d, verbose=0))
        print(
            f"  plain, unfrozen {unfrozen:.0%}: training {train_epoch:.1f} s, validation {check_epoch:.1f} s an epoch"
        )
        plain += FOLDS * epochs * ((1 - share) * train_epoch + share * check_epoch)
    config = configuration(args, args.prefix_compute)
    opened: list[PatchStore] = []
    store_seconds = processor_seconds(
        lambda: opened.append(PatchStore.open(samples, config.pages, cache=folder, progress=False))
    )
    data = PatchData(opened[0], samples.table["Age"].to_numpy(np.float32)[opened[0].page][:, None])
    rows = np.arange(len(opened[0]))
    ours = store_seconds
    model = ModelPool().get(config, args.size, opened[0].patches.shape[-1], median=20.0)
    plan = PhasePlan(model, config, len(rows))
    for epochs, phase in zip(args.epochs, plan.phases, strict=True):
        feeds: list = []

        def make(phase=phase, feeds=feeds):
            plan.begin(phase)
            feeds.append(make_feed(plan, phase, data, rows, rows, []))

        prefix = processor_seconds(make)
        feed = feeds[0]
        feed.model.compile(keras.optimizers.Adam(phase.settings.learning_rate), "mse", metrics=["mae"])

        def epoch(feed=feed):
            feed.model.fit(feed.train(rows, 1), steps_per_epoch=feed.steps(rows), verbose=0)

        epoch()
        feed.model.evaluate(feed.validation(rows), verbose=0)
        train_epoch = processor_seconds(epoch)
        check_epoch = processor_seconds(lambda f=feed: f.model.evaluate(f.validation(rows), verbose=0))
        print(
            f"  ours, unfrozen {phase.settings.unfreeze:.0%}: prefix {prefix:.1f} s once, training "
            f"{train_epoch:.2f} s, validation {check_epoch:.2f} s an epoch",
            flush=True,
        )
        ours += prefix + FOLDS * epochs * ((1 - share) * train_epoch + share * check_epoch)
    return plain, ours


def plain_fold(args, samples, learn: np.ndarray, held: np.ndarray, folder: Path) -> np.ndarray:
    """Both phases of one fold by Keras, from the best epoch of both: predictions of the pages left out."""
    keras.utils.set_random_seed(0)
    age = plain_model(args, 0.0)
    best = folder / "best.weights.h5"
    keep = keras.callbacks.ModelCheckpoint(best, "val_mae", mode="min", save_best_only=True, save_weights_only=True)
    training, held_out = plain_dataset(args, samples, learn, True), plain_dataset(args, samples, held, False)
    for epochs, rate, share in zip(args.epochs, RATES, (0.0, UNFREEZE), strict=True):
        unfreeze(age, share)
        age.trained.compile(keras.optimizers.Adam(rate), "mse", metrics=["mae"])
        age.trained.fit(training, epochs=epochs, validation_data=held_out, callbacks=[keep], verbose=0)
        age.trained.load_weights(best)
    pages = [plain_dataset(args, samples, [page], False) for page in held]
    return np.array([age.trained.predict(patches, verbose=0).mean() for patches in pages])


def our_fold(config: AgeConfig, samples, fold: int, held: np.ndarray, folder: Path) -> np.ndarray:
    """The same fold by the project's own `train`."""
    store = PatchStore.open(samples, config.pages, cache=folder, progress=False)
    data = PatchData(store, samples.table["Age"].to_numpy(np.float32)[store.page][:, None])
    trained = train(config, data, samples.table, Part(f"fold{fold}", ~held, held, held, fold), progress=False)
    for note in dict.fromkeys(note for note in trained.notes if "bfloat16" in note):
        print(f"  fold {fold}: {note}", flush=True)
    return trained.pages.set_index("page")["Prediction"].loc[np.flatnonzero(held)].to_numpy()


def in_full(args, samples, folder: Path) -> tuple[float, float]:
    """Runs the cross-validations, and says how their errors differ."""
    table = samples.table
    folds = repeated_kfold(table, FOLDS, 1, 0, ())[0]
    precisions: dict[str, Literal["float32", "bfloat16"]] = {
        "ours": "float32",
        "ours, frozen layers in bfloat16": "bfloat16",
    }
    ours = {name: configuration(args, precision) for name, precision in precisions.items()}
    names = ["constant", "plain", *ours]
    predictions, seconds = np.zeros((len(names), len(table))), np.zeros(len(names))
    for fold in np.unique(folds):
        held = folds == fold
        predictions[0, held] = table[~held].groupby("Writer")["Age"].median().median()
        ways = [partial(plain_fold, args, samples, np.flatnonzero(~held), np.flatnonzero(held), folder)]
        ways += [partial(our_fold, config, samples, int(fold), held, folder) for config in ours.values()]
        for number, way in enumerate(ways, start=1):
            begin = time.process_time()
            predictions[number, held] = way()
            seconds[number] += time.process_time() - begin
    truth, writers = table["Age"].to_numpy(), pd.factorize(table["Writer"])[0]
    draws = bootstrap_scores(truth, predictions, writers, writer_weights(writers.max() + 1))["MAE"]
    print(f"{len(table)} pages of {writers.max() + 1} writers.")
    for number, (name, error) in enumerate(zip(names, score(truth, predictions)["MAE"], strict=True)):
        low, high = percentile_interval(draws[number] - draws[1])
        print(f"  {name}: MAE {error:.2f} years, {seconds[number]:.0f} s;", end=" ")
        print(f"minus plain: 95 % interval over writers {low:+.2f} to {high:+.2f}.")
    return seconds[1], seconds[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", default="none", help="none, imagenet or a file")
    parser.add_argument("--data", type=Path, help="a folder of pages; none draws some")
    parser.add_argument("--source", help="keep only the pages from this source")
    parser.add_argument("--size", type=int, default=224, help="pixels of a patch as the network sees it")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--epochs", type=int, nargs=2, default=(50, 10), help="of the head, and with a quarter unfrozen"
    )
    parser.add_argument("--writers", type=int, default=60, help="of the synthetic cohort")
    parser.add_argument("--pages", type=int, default=12, help="that are measured")
    parser.add_argument("--prefix-compute", default="float32", help="float32 or bfloat16: of our prefix pass")
    parser.add_argument("--full", action="store_true", help="run everything instead of extrapolating")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AGE_KERAS_CACHE"] = folder
        samples = read_samples(args.data or synthesize(Path(folder) / "cohort", writers=args.writers, progress=False))
        if args.source:
            samples = samples.subset((samples.table["Source"] == args.source).to_numpy())
        if not args.full:
            samples = samples.subset(np.arange(len(samples.table)) < args.pages)
        run = in_full if args.full else sampled
        plain, ours = run(args, samples, Path(folder))
    how = "measured in full" if args.full else f"EXTRAPOLATED from one epoch of each kind on {args.pages} pages"
    epochs = " + ".join(map(str, args.epochs))
    print(f"{args.backbone}, {args.size} px, {FOLDS} folds, {epochs} epochs, {VIEWS} views; {how}:")
    print(f"plain {plain:.0f} s, ours {ours:.0f} s of processor time: ratio {plain / ours:.1f}.")


if __name__ == "__main__":
    main()
