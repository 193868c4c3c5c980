"""Every benchmark runs to its end at its smallest size: what it prints then says nothing, but it is printed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALLEST = {
    "augmentation": "--size 32 --batch 2 --batches 1 --rounds 1",
    "backbones": "--names resnet10 --batch 1 --rounds 1",
    "explain": "--backbones resnet10 --size 64 --rounds 1",
    "fine_tune": "--backbones resnet10 --ratios 0.25 --size 64 --batch 2 --rounds 1 --steps 1",
    "head_phase": "--backbone resnet10 --size 64 --views 1 --sample 8 --batch 4 --folds 2 --epochs 1 --rounds 1",
    "input_pipeline": "--pages 1 --batch 2 --rounds 1 --memory-pages 0",
    "mnist_time_to_accuracy": "--path {mnist} --seconds 1",
    "prefix_compute": "--backbones resnet10 --size 64 --ratios 0.25 --rounds 1",
    "published_protocol": "--backbone resnet10 --size 32 --epochs 1 1 --writers 10 --pages 10",
    "recurrent_cells": "--steps 1 --rounds 1",
    "search": "--pages 12 --patches 1 --image-size 32 --trials 2 --folds 2 --head-epochs 1 --fine-tune-epochs 1",
    "workers": "--writers 20 --trials 2 --workers 1",
}


def test_every_benchmark_has_a_smallest_size():
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == set(SMALLEST)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """A file like MNIST's, of a few random digits."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("mnist") / "mnist.npz"
    images, labels = rng.integers(0, 256, (256, 28, 28), np.uint8), rng.integers(0, 10, 256).astype(np.uint8)
    np.savez(path, x_train=images, y_train=labels, x_test=images[:60], y_test=labels[:60])
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLEST)
def test_it_runs_to_its_end(name, mnist, tmp_path):
    command = [sys.executable, f"benchmarks/{name}.py", *SMALLEST[name].format(mnist=mnist).split()]
    environment = os.environ | {"AGE_KERAS_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    assert any(character.isdigit() for character in done.stdout)
