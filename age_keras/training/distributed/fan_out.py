"""The trainings of a cross-validation, fold by fold and backbone by backbone, on many processes or machines.

    python -m experiments.cross_validation --data DIR --runtime.workers 4
    RAY_ADDRESS=auto python -m experiments.cross_validation --data DIR --runtime.workers 0

Each training ends in a record under the run's `state/` and resumes from there, so it does not matter which process runs
it, or how often one dies. With Ray (`pip install -e .[ray]`) and a cluster that it reaches, the trainings run on all of
its machines, which share the data and the run's folder; otherwise on processes of this machine.
"""

import contextlib
import functools
import importlib.util
import multiprocessing
import os
import queue
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from age_keras.errors import InputError
from age_keras.training.distributed.devices import allotment, cores, gpus

if TYPE_CHECKING:
    from age_keras.config.age import AgeConfig
    from age_keras.training.protocol import Part
    from age_keras.training.study import Study

Backend = Literal["auto", "ray", "processes"]
MOST_DEATHS = 3
"""A training is given up once its process has died this often."""


def fan_out(
    study: "Study",
    trainings: Sequence[tuple[str, "Part"]],
    parts: Sequence["Part"],
    backend: Backend = "auto",
    progress: bool = True,
) -> None:
    """Trains what is not finished, several at a time (`runtime.workers`).

    Args:
        study: The opened experiment.
        trainings: Backbones and parts.
        parts: All parts of the split: the linear heads of a backbone are trained on all of them together.
        backend: `"ray"`, `"processes"`, or `"auto"`: Ray where it is installed and RAY_ADDRESS names a cluster.
            Defaults to `"auto"`.
        progress: Whether to show a bar of finished trainings. Defaults to `True`.

    Raises:
        InputError: Ray was asked for and is not installed, or a training's process keeps dying.
    """
    from age_keras.training.one_training import record_file

    if backend == "auto":
        backend = "ray" if os.environ.get("RAY_ADDRESS") and importlib.util.find_spec("ray") else "processes"
    left = [each for each in trainings if not record_file(study, *each).exists()]
    title = study.run.path.parent.name
    with tqdm(
        total=len(trainings), initial=len(trainings) - len(left), desc=title, unit="training", disable=not progress
    ) as bar:
        if left and backend == "ray":
            _with_ray(study, left, parts, bar)
        elif left:
            workers = study.config.runtime.workers or trainings_at_a_time()
            _with_processes(study, left, parts, min(workers, len(left)), bar)


def trainings_at_a_time() -> int:
    """One a GPU; without, one for every two cores: more are faster for small networks, but each wants its memory."""
    return len(gpus()) or max(1, cores() // 2)


@functools.lru_cache(maxsize=1)
def _opened(config: "AgeConfig", run: Path) -> "Study":
    from age_keras.training.study import reopen_study

    return reopen_study(config, run)


_heads: dict[tuple, list] = {}


def _train_one(config: "AgeConfig", run: Path, backbone: str, part: "Part", parts: Sequence["Part"]) -> str:
    """In a process of its own: opens the study again (its patches are on disk) and trains one backbone on one part."""
    from age_keras.training.heads.batched import train_heads
    from age_keras.training.one_training import train_one
    from age_keras.training.protocol import with_backbone

    study = _opened(config, run)
    # Where no process has ended them yet, heads that train together are trained in each: none waits for another.
    name = (config, run, backbone, *(p.label for p in parts))
    if name not in _heads:
        _heads.clear()
        _heads[name] = train_heads(study, with_backbone(config, backbone), parts) or [None] * len(parts)
    labels = [each.label for each in parts]
    train_one(study, backbone, part, progress=False, head=_heads[name][labels.index(part.label)])
    return f"{backbone} {part.label}"


def _task(study: "Study", training: tuple[str, "Part"], parts: Sequence["Part"]) -> tuple:
    return study.config, study.run.path, *training, parts


def _with_processes(study: "Study", trainings: Sequence, parts: Sequence["Part"], workers: int, bar: tqdm) -> None:
    left, deaths = list(trainings), 0
    while left:
        try:
            with _pool(workers) as pool:
                running = {pool.submit(_train_one, *_task(study, each, parts)): each for each in left}
                for done in as_completed(running):
                    bar.set_postfix_str(done.result())
                    bar.update()
                    left.remove(running[done])
        except BrokenProcessPool:
            # Finished trainings have their records, the others resume from their saved epoch.
            deaths += 1
            if deaths >= MOST_DEATHS:
                raise InputError(
                    f"A training process died {deaths} times, probably out of memory: use fewer workers. "
                    "Completed trainings are kept."
                ) from None
            print("A training process died; a new one resumes its training.", file=sys.stderr)


@contextlib.contextmanager
def _pool(workers: int):
    context = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork.
    places = context.Queue()
    for place in range(workers):
        places.put(place)
    pool = ProcessPoolExecutor(workers, context, _settle, (places, workers))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _settle(places, workers: int) -> None:
    """Gives a new process its share of threads and GPUs, before it loads TensorFlow."""
    try:
        place = places.get(timeout=5)
    except queue.Empty:  # A process that takes a dead one's place.
        place = 0
    os.environ.update(allotment(place, workers, gpus()))


def _on_ray(cpus: float, *task) -> str:
    """One training in a task of `cpus` CPUs: as many of them as fit the machine divide its memory."""
    os.environ.setdefault("AGE_KERAS_WORKERS", str(max(1, int(cores() // cpus))))
    return _train_one(*task)


def _with_ray(study: "Study", trainings: Sequence, parts: Sequence["Part"], bar: tqdm) -> None:
    if importlib.util.find_spec("ray") is None:
        raise InputError("The backend `ray` needs Ray: pip install -e '.[ray]'.")
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    on_gpus = ray.cluster_resources().get("GPU", 0) > 0
    # A task that dies with its machine is run again elsewhere, from the saved epoch.
    cpus = min(2, ray.cluster_resources().get("CPU", 1))
    task = ray.remote(num_cpus=cpus, num_gpus=1 if on_gpus else 0, max_retries=MOST_DEATHS)(_on_ray)
    waiting = [task.remote(cpus, *_task(study, each, parts)) for each in trainings]
    while waiting:
        done, waiting = ray.wait(waiting)
        for finished in done:
            try:
                bar.set_postfix_str(ray.get(finished))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error  # The training's own error.
            except ray.exceptions.RayError as error:
                raise InputError(
                    f"A training's process on Ray died {MOST_DEATHS + 1} times, probably out of memory "
                    f"({type(error).__name__}): give each machine fewer CPUs (ray start --num-cpus). What is finished "
                    "is kept."
                ) from None
            bar.update()
