"""An epoch of the recogniser with LSTM against GRU, unrolled and not, in turns.

    python benchmarks/recurrent_cells.py [--steps 24] [--rounds 3]

On random pixels of MNIST's size in batches of 128; printed as seconds for 60,000 images, training steps only.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import argparse
import dataclasses

import numpy as np
from support.side_by_side import interleave, machine

from age_keras.characters.config import RecogniserConfig
from age_keras.characters.model.recogniser import build_recogniser

BATCH = 128


def main() -> None:
    """Times every cell and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24, help="training steps a turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, 28, 28, 1)).astype("uint8")
    labels = rng.integers(0, 10, BATCH)
    ways = {}
    for cell in ("none", "gru", "lstm"):
        for unroll in (True, False) if cell != "none" else (True,):
            model = build_recogniser(dataclasses.replace(RecogniserConfig(), recurrence=cell, unroll=unroll))
            model.compile("adamw", "sparse_categorical_crossentropy")

            def way(model=model):
                for _ in range(arguments.steps):
                    model.train_on_batch(images, labels)
                return arguments.steps * BATCH

            ways[f"{cell}{', unrolled' if unroll and cell != 'none' else ''}"] = way
    print(machine())
    for name, (wall, cpu) in interleave(ways, arguments.rounds).items():
        print(f"{name:<16} {60_000 * wall:7.1f} s an epoch (wall), {60_000 * cpu:7.1f} CPU-s")


if __name__ == "__main__":
    main()
