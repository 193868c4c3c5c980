"""Timing of several ways to do one thing, in turns, so that a busy moment of the machine meets them all."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

Name = TypeVar("Name")


def machine() -> str:
    """One line on where a figure was measured."""
    import keras
    import numpy
    import tensorflow as tf

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = len(tf.config.list_physical_devices("GPU"))
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}"
    return f"{model}, {cores} cores, {gpus} GPUs; {versions}, numpy {numpy.__version__}"


def interleave(ways: Mapping[Name, Callable[..., int]], rounds: int) -> dict[Name, tuple[float, float]]:
    """Runs every way once without counting, then all in turns.

    Args:
        ways: name -> a call that does the work and returns how many items it made.
        rounds: turns.

    Returns:
        name -> median seconds and median processor seconds (all threads of this process) of an item.
    """
    for way in ways.values():
        way()
    seconds: dict[Name, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            items = way()
            seconds[name].append(((time.perf_counter() - wall) / items, (time.process_time() - cpu) / items))
    return {
        name: (statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times))
        for name, times in seconds.items()
    }
