"""Time to 96 %, 99 % and 99.5 % of MNIST's test digits: the recogniser, Keras' simple convnet, the same in PyTorch.

    python benchmarks/mnist_time_to_accuracy.py [--path mnist.npz] [--seconds 150] [--torch-python PYTHON]

Each way trains in a process of its own, one after the other, on all 60,000 digits from seed 0, and is tested on all
10,000 at ever longer intervals; testing, reading the data and starting up are not counted, tracing the first step is.
(a) is https://keras.io/examples/vision/mnist_convnet: two convolutions with max-pooling, dropout 0.5, Adam, batches of
128. (b) is the network of (a) in PyTorch, same optimizer and batches; it is left out where PyTorch is missing.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

LEVELS = (0.96, 0.99, 0.995)
BATCH = 128
PEAK_RATE, WARM_UP, CYCLE = 6e-3, 100, 4500  # Of ours, in steps; docs/digits.md says how they were chosen.


class Race:
    """Counts training time only, and says when to test."""

    def __init__(self, seconds: float):
        self.limit, self.wall, self.cpu, self.steps, self.next_test = seconds, 0.0, 0.0, 0, 20
        self.reached: dict[str, tuple[float, float, int]] = {}
        self.best = 0.0

    def run(self, batches, step, test) -> dict:
        """`step(images, labels)` trains, `test()` gives the test accuracy; ends when all levels are reached."""
        for images, labels in self._timed(batches, step):
            del images, labels
            if self.steps < self.next_test and self.cpu < self.limit:
                continue
            self.next_test = int(self.steps * 1.2) + 1
            accuracy = test()
            self.best = max(self.best, accuracy)
            for level in LEVELS:
                if accuracy >= level:
                    self.reached.setdefault(f"{level:g}", (self.wall, self.cpu, self.steps))
            if len(self.reached) == len(LEVELS) or self.cpu >= self.limit:
                break
        return {"reached": self.reached, "best": self.best, "wall": self.wall, "cpu": self.cpu, "steps": self.steps}

    def _timed(self, batches, step):
        batches = iter(batches)
        while True:
            wall, cpu = time.perf_counter(), time.process_time()
            images, labels = next(batches)
            step(images, labels)
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu
            self.steps += 1
            yield images, labels


def read(path: Path):
    """MNIST's training and test arrays."""
    with np.load(path) as file:
        return tuple(file[k] for k in ("x_train", "y_train", "x_test", "y_test"))


def shuffled(images, labels):
    """Endless shuffled batches, each epoch in its own order."""
    rng = np.random.default_rng(0)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            yield images[rows], labels[rows]


def race_ours(path: Path, seconds: float) -> dict:
    """The recogniser: warped digits, one cycle of the learning rate, tested with the averaged weights."""
    import keras
    import tensorflow as tf

    from age_keras.characters.config import RecogniserConfig, WarpSettings
    from age_keras.characters.data.warp import warp_batch
    from age_keras.characters.model.recogniser import build_recogniser, logits_model

    x, y, x_test, y_test = read(path)
    keras.utils.set_random_seed(0)
    model = build_recogniser(RecogniserConfig(detail=(), stem=16, stages=((32,), (48, 48)), units=48))
    to_logits = logits_model(model)
    optimizer = keras.optimizers.AdamW(PEAK_RATE, weight_decay=0.02)
    optimizer.build(model.trainable_variables)
    averages = [tf.Variable(v) for v in model.variables]
    rng = np.random.default_rng(0)
    mild = WarpSettings(rotation=8, zoom=0.08, shear=0.08, shift=0.05, elastic=0.5, width=0.6)

    @tf.function
    def train(images, labels, rate, decay):
        optimizer.learning_rate.assign(rate)
        with tf.GradientTape() as tape:
            logits = to_logits(images, training=True)
            targets = tf.one_hot(labels, 10) * 0.95 + 0.005
            loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        for average, variable in zip(averages, model.variables, strict=True):
            if average.dtype.is_floating:
                average.assign(decay * average + (1 - decay) * variable.value)

    @tf.function
    def answer(images):
        return tf.argmax(to_logits(images, training=False), axis=1)

    race = Race(seconds)

    def step(images, labels):
        fall = 0.5 + 0.5 * math.cos(math.pi * min(1.0, race.steps / CYCLE))
        rate = PEAK_RATE * max(0.005, min(1.0, (race.steps + 1) / WARM_UP) * fall)
        decay = min(0.99, race.steps / (race.steps + 6))
        images = warp_batch(images, rng, mild)[..., None].astype(np.float32)
        train(tf.constant(images), tf.constant(labels), tf.constant(rate), tf.constant(decay))

    def test():
        kept = [v.numpy() for v in model.variables]
        for variable, average in zip(model.variables, averages, strict=True):
            if average.dtype.is_floating:
                variable.assign(average)
        pieces = np.split(x_test[..., None].astype(np.float32), 10)
        right = np.concatenate([answer(tf.constant(piece)).numpy() for piece in pieces]) == y_test
        for variable, value in zip(model.variables, kept, strict=True):
            variable.assign(value)
        return float(right.mean())

    return race.run(shuffled(x, y), step, test) | {"parameters": model.count_params()}


def race_keras(path: Path, seconds: float) -> dict:
    """Keras' documented simple convnet, by `train_on_batch`, which is what `fit` runs."""
    import keras
    from keras import layers

    x, y, x_test, y_test = read(path)
    x, x_test = (v.astype("float32")[..., None] / 255 for v in (x, x_test))
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")

    def test():
        return float((model.predict(x_test, batch_size=1000, verbose=0).argmax(axis=1) == y_test).mean())

    result = Race(seconds).run(shuffled(x, y), model.train_on_batch, test)
    return result | {"parameters": model.count_params()}


def race_torch(path: Path, seconds: float) -> dict:
    """The same network in PyTorch."""
    import torch
    from torch import nn

    x, y, x_test, y_test = read(path)
    x, x_test = (v.astype("float32")[:, None] / 255 for v in (x, x_test))
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(1600, 10),
    )
    optimizer, loss = torch.optim.Adam(model.parameters(), 1e-3, eps=1e-7), nn.CrossEntropyLoss()

    def step(images, labels):
        model.train()
        optimizer.zero_grad()
        loss(model(torch.from_numpy(images)), torch.from_numpy(labels).long()).backward()
        optimizer.step()

    def test():
        model.eval()
        with torch.no_grad():
            return float((model(torch.from_numpy(x_test)).argmax(1).numpy() == y_test).mean())

    parameters = sum(p.numel() for p in model.parameters())
    return Race(seconds).run(shuffled(x, y), step, test) | {"parameters": parameters}


def main() -> int:
    """Runs the ways one after the other and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", type=Path, help="mnist.npz; downloaded once by Keras if not given")
    parser.add_argument("--seconds", type=float, default=150, help="CPU-seconds of training that each way gets at most")
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--way", choices=("ours", "keras", "torch"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        race = {"ours": race_ours, "keras": race_keras, "torch": race_torch}[arguments.way]
        print(json.dumps(race(arguments.path, arguments.seconds)))
        return 0
    if arguments.path is None:
        from keras.datasets import mnist

        mnist.load_data()
        arguments.path = Path.home() / ".keras" / "datasets" / "mnist.npz"
    results = {}
    for way in ("ours", "keras", "torch"):
        python = arguments.torch_python if way == "torch" else sys.executable
        if way == "torch" and subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
            print("PyTorch is missing: (b) is left out (pip install torch, or --torch-python).", file=sys.stderr)
            continue
        command = [python, __file__, "--path", arguments.path, "--seconds", arguments.seconds, "--way", way]
        done = subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True)
        results[way] = json.loads(done.stdout.splitlines()[-1])
    print(f"{'':<8}{'parameters':>11}" + "".join(f"{100 * level:>26.1f} %" for level in LEVELS) + f"{'best':>10}")
    for way, result in results.items():
        cells = []
        for level in LEVELS:
            found = result["reached"].get(f"{level:g}")
            cells.append(f"{found[0]:.1f} s, {found[1]:.1f} CPU-s" if found else f"not in {result['cpu']:.0f} CPU-s")
        line = "".join(f"{c:>28}" for c in cells)
        print(f"{way:<8}{result['parameters']:>11,}{line}{100 * result['best']:>8.2f} %")
    for level in LEVELS:
        ours = results["ours"]["reached"].get(f"{level:g}")
        for way in ("keras", "torch"):
            theirs = results.get(way, {}).get("reached", {}).get(f"{level:g}")
            if ours and theirs:
                wall, cpu = theirs[0] / ours[0], theirs[1] / ours[1]
                print(f"{100 * level:g} %: {wall:.2f} times as fast as {way} (CPU time: {cpu:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
