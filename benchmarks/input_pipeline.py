"""Patches a second into training: the patch store, against decoding every page again in each epoch.

    python benchmarks/input_pipeline.py [--data DIR] [--pages 8] [--rounds 5] [--memory-pages 1000]

The ways, on the same pages with the same settings (shorter side 800 px, patches of 400 px at stride 200), in turns:

* ours: patch store, whole-set shuffle, the published augmentation fused on one channel; and without augmentation;
* (a) the published way: each epoch decodes each page, scales it (Lanczos), cuts it, divides by 255 and runs the chain
  of Keras layers on three channels; pages are decoded by several threads;
* (b) the same without augmentation;
* (c) a PyTorch-style Dataset: `__getitem__` opens the page with Pillow, scales it and cuts one patch; several threads
  call it and stack batches.

Then the peak memory of building a store of many pages and reading four epochs of it, in a process of its own. Without
`--data` the pages are synthetic: line drawings as TIFFs of A4 at 200 dpi, 8-bit grey, LZW. Some 3 GB of temporary disk
are used for 1,000 pages; `--memory-pages 0` leaves this part out.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from age_keras.config.pages import PageSettings
from age_keras.data.patches.pages import cut_page, scaled_size
from age_keras.data.patches.store import PatchStore
from age_keras.data.table.samples import Samples, read_samples

A4_AT_200_DPI = (1654, 2339)
SETTINGS = PageSettings(image_size=None, blank="none")


def make_pages(folder: Path, count: int) -> None:
    """Writes pages of pen strokes on slightly noisy paper, TIFF, grey, and their labels."""
    import cv2

    width, height = A4_AT_200_DPI
    rng = np.random.default_rng(0)
    paper = rng.normal(244, 2, (height, width)).clip(0, 255).astype(np.uint8)
    lines = ["File,Age,Writer"]
    for number in range(count):
        page = np.roll(paper, 7 * number, axis=1)
        for top in range(150, height - 150, 90):
            steps = rng.normal((9, 0), (6, 16), (150, 2))
            points = np.cumsum(steps, axis=0)
            points[:, 1] = points[:, 1] % 60
            cv2.polylines(page, [(points + np.array((120, top))).astype(np.int32)], False, 50, 3, cv2.LINE_AA)
        name = f"page{number:04d}.tif"
        Image.fromarray(page).save(folder / name, compression="tiff_lzw")
        lines.append(f"{name},{8 + number % 60},{number}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def published_way(samples: Samples, batch_size: int, augmented: bool):
    """(a) and (b): from page files, in page order, each epoch anew."""
    import keras
    import tensorflow as tf

    def patches(row):
        return cut_page(samples.paths[row], SETTINGS).patches

    def load(row):
        return tf.ensure_shape(tf.numpy_function(patches, [row], tf.uint8), [None, 400, 400, 1])

    layers = [
        keras.layers.RandomRotation(15 / 360),
        keras.layers.RandomZoom(0.1),
        keras.layers.RandomBrightness(0.1, value_range=(0, 1)),
        keras.layers.RandomContrast(0.25, value_range=(0, 1)),
        keras.layers.GaussianNoise(0.05),
    ]

    def finish(pixels):
        pixels = tf.image.grayscale_to_rgb(tf.cast(pixels, tf.float32) / 255)
        for layer in layers if augmented else []:
            pixels = layer(pixels, training=True)
        return pixels

    data = tf.data.Dataset.range(len(samples)).map(load, num_parallel_calls=tf.data.AUTOTUNE)
    data = data.unbatch().batch(batch_size).map(finish, num_parallel_calls=tf.data.AUTOTUNE)
    return counting(data.prefetch(tf.data.AUTOTUNE))


def our_way(store: PatchStore, ages: np.ndarray, batch_size: int, policy: str):
    """Four epochs a turn, from a cold start of the dataset to its end: no batch is made in another way's turn."""
    from age_keras.data.batches.augment import get_policy
    from age_keras.data.batches.pipeline import batches

    augment = get_policy(policy)
    data = batches(store.patches, ages, store.keys, batch_size=batch_size, shuffle=True, policy=augment, epochs=4)
    return counting(data.map(lambda pixels, _: pixels))


class PageDataset:
    """(c): a map-style Dataset, one page decoded for each item."""

    def __init__(self, samples: Samples):
        self.paths, self.items = samples.paths, []
        for row, path in enumerate(self.paths):
            with Image.open(path) as page:
                (width, height), _ = scaled_size(*page.size, SETTINGS)
            places = [(x, y) for y in range(0, height - 399, 200) for x in range(0, width - 399, 200)]
            self.items += [(row, (width, height), place) for place in places]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> np.ndarray:
        row, size, (x, y) = self.items[item]
        with Image.open(self.paths[row]) as page:
            scaled = page.convert("L").resize(size, Image.Resampling.LANCZOS)
        return np.asarray(scaled.crop((x, y, x + 400, y + 400)), np.float32) / 255


def pillow_way(samples: Samples, batch_size: int, threads: int, items: int):
    """(c): shuffled; a turn takes `items` patches, since an epoch would take minutes."""
    dataset = PageDataset(samples)
    rng = np.random.default_rng(0)
    pool = ThreadPoolExecutor(threads)

    def some() -> int:
        order = rng.permutation(len(dataset))[:items]
        for start in range(0, len(order), batch_size):
            np.stack(list(pool.map(dataset.__getitem__, order[start : start + batch_size])))
        return len(order)

    return some


def counting(data):
    """A call that goes through a dataset once and returns how many examples it held."""
    return lambda: sum(len(batch) for batch in data)


def peak_memory(folder: str, batch_size: int) -> None:
    """Builds the store of a folder and reads four augmented epochs; prints the process's peak memory in MB."""
    samples = read_samples(folder)
    with tempfile.TemporaryDirectory() as cache:
        store = PatchStore.open(samples, SETTINGS, cache=cache, progress=False)
        built = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ages = samples.table["Age"].to_numpy()[store.page]
        patches = our_way(store, ages, batch_size, "published")() // 4
        # Pages of the memory map that the system keeps as a cache count as this process's, but can be dropped.
        status = Path("/proc/self/status").read_text()
        own = int(status.split("RssAnon:")[1].split()[0]) / 1024
    both = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{patches} {built:.0f} {both:.0f} {own:.0f}")


def report_memory(pages: int, batch_size: int) -> None:
    """Runs `peak_memory` on synthetic pages in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        make_pages(Path(folder), pages)
        command = [sys.executable, __file__, "--measure-memory", folder, "--batch", str(batch_size)]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-4:]
    patches, built, both, own = printed
    print(f"\nPeak memory, {pages} pages of A4 at 200 dpi ({patches} patches): {built} MB after building the store,")
    print(f"{both} MB after reading four augmented epochs too, of which {own} MB were not pages of the mapped file.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder of pages with labels, instead of synthetic pages")
    parser.add_argument("--pages", type=int, default=8, help="pages used")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory-pages", type=int, default=1000)
    parser.add_argument("--measure-memory", metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_memory:
        peak_memory(options.measure_memory, options.batch)
        return

    from support.side_by_side import interleave, machine
    from tabulate import tabulate

    with tempfile.TemporaryDirectory() as made_up, tempfile.TemporaryDirectory() as cache:
        if not options.data:
            make_pages(Path(made_up), options.pages)
        samples = read_samples(options.data or made_up)
        samples = samples.subset(np.linspace(0, len(samples) - 1, min(options.pages, len(samples))).astype(int))
        store = PatchStore.open(samples, SETTINGS, cache=cache)
        ages = samples.table["Age"].to_numpy()[store.page]
        ways = {
            "ours, published augmentation": our_way(store, ages, options.batch, "published"),
            "ours, handwriting augmentation": our_way(store, ages, options.batch, "handwriting"),
            "ours, no augmentation": our_way(store, ages, options.batch, "none"),
            "(a) decode and augment each epoch": published_way(samples, options.batch, True),
            "(b) decode each epoch, no augmentation": published_way(samples, options.batch, False),
            "(c) Dataset with Pillow, no augmentation": pillow_way(samples, options.batch, os.cpu_count() or 1, 32),
        }
        times = interleave(ways, options.rounds)
    base = times["(a) decode and augment each epoch"]
    names = list(times)
    rows = [
        (name, f"{1 / wall:,.0f}", f"{cpu * 1e3:.2f}", f"{base[0] / wall:.1f}", f"{base[1] / cpu:.1f}")
        for name, (wall, cpu) in times.items()
    ]
    print(machine())
    print(f"{len(samples)} pages, {len(store)} patches; median of {options.rounds} turns after a first epoch.\n")
    header = ("way", "patches/s", "CPU ms/patch", "times (a)", "times (a), by CPU")
    print(tabulate(rows, header, tablefmt="github", disable_numparse=True))
    plain, page_wise, pillow = (times[names[i]][0] for i in (2, 4, 5))
    print(f"\nWithout augmentation ours is {page_wise / plain:.0f} times (b) and {pillow / plain:.0f} times (c).")
    if options.memory_pages:
        report_memory(options.memory_pages, options.batch)


if __name__ == "__main__":
    main()
