"""The published pipeline, written plainly, against ours: five folds, both phases, at equal epochs on the same pages.

    python benchmarks/published_protocol.py [--backbone resnet50] [--pages 12] [--epochs 50 10] [--full]

Plainly: each epoch decodes and rescales every page again (Lanczos, shorter side 800 px), cuts its patches, augments
three float channels by a chain of Keras layers, and trains with Keras' `fit`: 50 epochs of the head, then 10 with the
top quarter of the backbone unfrozen, validating each epoch. Ours: the patch store, one fused warp, four augmented
copies a patch, and the frozen prefix computed once for all folds, by the project's own `train`.

Without `--full` an epoch of every kind is measured on `--pages` synthetic pages and the five-fold cross-validation of
them is *extrapolated*. With `--full` both are run to the end on the pages of `--writers` synthetic writers, and the
errors of both are compared page by page, with a bootstrap interval over writers of the difference. Processor time.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # As importing age_keras does; it is for both ways here.

import argparse
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image
from side_by_side import machine

from age_keras.data.pages import PageSettings
from age_keras.data.patch_store import PatchStore
from age_keras.data.samples import read_samples
from age_keras.data.splits import repeated_kfold
from age_keras.data.synthetic import synthesize
from age_keras.evaluation.bootstrap import bootstrap_scores, percentile_interval, writer_weights
from age_keras.evaluation.metrics import score
from age_keras.models.age import ModelConfig, build_age_model, unfreeze
from age_keras.training.age_config import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.training.feeds import PatchData, make_feed
from age_keras.training.model_pool import ModelPool
from age_keras.training.protocol import Part, train

FOLDS, VIEWS, UNFREEZE = 5, 4, 0.25
RATES = (1e-3, 1e-4)


def configuration(args) -> AgeConfig:
    phases = [
        PhaseConfig(epochs, rate, unfreeze=share, stop_patience=10**6)
        for epochs, rate, share in zip(args.epochs, RATES, (0.0, UNFREEZE), strict=True)
    ]
    return AgeConfig(
        backbones=(args.backbone,),
        model=ModelConfig(args.backbone, weights=args.weights, batch_norm="inference", loss="mse"),
        pages=PageSettings(image_size=args.size, channels=1),
        training=TrainingConfig(*phases, batch_size=args.batch, augment="published", views=VIEWS),
        runtime=RuntimeConfig(tensorboard=False),
        bands=(),  # Five folds of few writers cannot each have every band.
    )


def plain_patches(paths, ages, size):
    """Decodes every page again, and cuts it: yields (patch float32 (size, size, 3) of [0, 1], age)."""
    for path, age in zip(paths, ages, strict=True):
        page = Image.open(path).convert("RGB")
        scale = 800 / min(page.size)
        page = np.asarray(page.resize([round(side * scale) for side in page.size], Image.Resampling.LANCZOS))
        for top in range(0, page.shape[0] - 399, 200):
            for left in range(0, page.shape[1] - 399, 200):
                patch = Image.fromarray(page[top : top + 400, left : left + 400])
                patch = patch.resize((size, size), Image.Resampling.BICUBIC)
                yield np.asarray(patch, np.float32) / 255, np.float32([age])


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
    config = ModelConfig(args.backbone, args.weights, "published", batch_norm="inference", loss="mse")
    age = build_age_model(config, args.size, 3, median=20.0)
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
    config = configuration(args)
    opened: list[PatchStore] = []
    store_seconds = processor_seconds(
        lambda: opened.append(PatchStore.open(samples, config.pages, cache=folder, progress=False))
    )
    data = PatchData(opened[0], samples.table["Age"].to_numpy(np.float32)[opened[0].page][:, None])
    rows = np.arange(len(opened[0]))
    ours = store_seconds
    age = build_age_model(config.model, args.size, median=20.0)
    for epochs, phase in zip(args.epochs, (config.training.head, config.training.fine_tune), strict=True):
        feeds: list = []

        def make(phase=phase, feeds=feeds):
            ahead = ModelPool(keep=False).ahead(age, config, phase)
            unfreeze(age, phase.unfreeze)
            feeds.append(make_feed(age, data, config, phase, rows, rows, [], ahead=ahead))

        prefix = processor_seconds(make)
        feed = feeds[0]
        feed.model.compile(keras.optimizers.Adam(phase.learning_rate), "mse", metrics=["mae"])

        def epoch(feed=feed):
            feed.model.fit(feed.train(rows, 1), steps_per_epoch=feed.steps(rows), verbose=0)

        epoch()
        feed.model.evaluate(feed.validation(rows), verbose=0)
        train_epoch = processor_seconds(epoch)
        check_epoch = processor_seconds(lambda f=feed: f.model.evaluate(f.validation(rows), verbose=0))
        print(
            f"  ours, unfrozen {phase.unfreeze:.0%}: prefix {prefix:.1f} s once, training {train_epoch:.2f} s, "
            f"validation {check_epoch:.2f} s an epoch",
            flush=True,
        )
        ours += prefix + FOLDS * epochs * ((1 - share) * train_epoch + share * check_epoch)
    return plain, ours


def in_full(args, samples, folder: Path) -> tuple[float, float]:
    """Runs both cross-validations, and says how their errors differ."""
    config, table = configuration(args), samples.table
    folds = repeated_kfold(table, FOLDS, 1, 0, config.bands)[0]
    predictions, seconds = np.zeros((2, len(table))), np.zeros(2)
    for fold in np.unique(folds):
        keys = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        begin = time.process_time()
        keras.utils.set_random_seed(0)
        age = plain_model(args, 0.0)
        for epochs, rate, share in zip(args.epochs, RATES, (0.0, UNFREEZE), strict=True):
            unfreeze(age, share)
            age.trained.compile(keras.optimizers.Adam(rate), "mse", metrics=["mae"])
            best = Path(folder) / "best.weights.h5"
            keep = keras.callbacks.ModelCheckpoint(best, "val_mae", save_best_only=True, save_weights_only=True)
            training, held_out = (
                plain_dataset(args, samples, keys[0], True),
                plain_dataset(args, samples, keys[1], False),
            )
            age.trained.fit(training, epochs=epochs, validation_data=held_out, callbacks=[keep], verbose=0)
            age.trained.load_weights(best)
        for page in keys[1]:
            patches = plain_dataset(args, samples, [page], False)
            predictions[0, page] = age.trained.predict(patches, verbose=0).mean()
        seconds[0] += time.process_time() - begin
        begin = time.process_time()
        store = PatchStore.open(samples, config.pages, cache=folder, progress=False)
        data = PatchData(store, table["Age"].to_numpy(np.float32)[store.page][:, None])
        held = folds == fold
        trained = train(config, data, table, Part(f"fold{fold}", ~held, held, held, int(fold)), progress=False)
        predictions[1, keys[1]] = trained.pages.set_index("page")["Prediction"].loc[keys[1]]
        seconds[1] += time.process_time() - begin
    truth, writers = table["Age"].to_numpy(), pd.factorize(table["Writer"])[0]
    draws = bootstrap_scores(truth, predictions, writers, writer_weights(writers.max() + 1))["MAE"]
    plain, ours = score(truth, predictions)["MAE"]
    low, high = percentile_interval(draws[1] - draws[0])
    print(f"MAE: plain {plain:.2f}, ours {ours:.2f} years;", end=" ")
    print(f"ours minus plain {ours - plain:+.2f}, 95 % interval over writers {low:+.2f} to {high:+.2f}.")
    return seconds[0], seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--weights", default="none", help="none or imagenet")
    parser.add_argument("--size", type=int, default=224, help="pixels of a patch as the network sees it")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--epochs", type=int, nargs=2, default=(50, 10), help="of the head, and with a quarter unfrozen"
    )
    parser.add_argument("--writers", type=int, default=60, help="of the synthetic cohort")
    parser.add_argument("--pages", type=int, default=12, help="that are measured")
    parser.add_argument("--full", action="store_true", help="run everything instead of extrapolating")
    args = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AGE_KERAS_CACHE"] = folder
        samples = read_samples(synthesize(Path(folder) / "cohort", writers=args.writers, progress=False))
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
