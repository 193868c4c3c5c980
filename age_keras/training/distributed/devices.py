"""A machine's cores and GPUs, divided among processes before any of them loads TensorFlow."""

import os
import shutil
import subprocess
from collections.abc import Sequence


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_each(workers: int) -> int:
    """Threads for each worker: its part of the machine's cores, at least one."""
    return max(1, cores() // workers)


def gpus() -> list[str]:
    """The GPUs of this machine, by the names that CUDA_VISIBLE_DEVICES takes, without loading TensorFlow."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name for name in chosen.split(",") if name.strip() not in ("", "-1")]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number, line in enumerate(listed.splitlines()) if line.startswith("GPU")]


def allotment(worker: int, workers: int, devices: Sequence[str]) -> dict[str, str]:
    """The environment of one of the workers: its threads, its part of the memory, and its GPUs or one in common."""
    threads = str(threads_each(workers))
    environment = {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": "1" if threads == "1" else "2",
        "AGE_KERAS_WORKERS": str(workers),  # The feature cache divides the memory, too.
    }
    if devices:
        own = devices[worker::workers] or [devices[worker % len(devices)]]
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(own)
        if workers > len(devices):
            environment["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    return environment
