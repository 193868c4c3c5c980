"""The trainings of a cross-validation, fold by fold and backbone by backbone, on many processes or machines.

    predictions = fan_out(study, "cross_validation", fold_parts(study), workers=4)

Each training is a unit that ends in a record under the run's `state/` and resumes from there, so it does not matter
which process runs it, or how often one dies. With Ray (`pip install age_keras[ray]`) and a cluster that it reaches, the
units run on all of the cluster's machines, which share the run's folder; else on processes of this machine.
"""

import contextlib
import importlib.util
import multiprocessing
import os
import queue
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from age_keras.errors import InputError
from age_keras.training.devices import cores, gpus, share

if TYPE_CHECKING:
    import pandas as pd

    from age_keras.training.protocol import Part
    from age_keras.training.study import Study

Backend = Literal["auto", "ray", "processes"]
MOST_DEATHS = 3
"""So often a unit's process may die before the unit is given up."""


def fan_out(
    study: "Study",
    experiment: str,
    parts: Sequence["Part"],
    workers: int = 0,
    backend: Backend = "auto",
    progress: bool = True,
) -> "pd.DataFrame":
    """Trains each backbone on each part, several at a time, and writes predictions and history as `train_all` does.

    Args:
        study: the opened experiment.
        experiment: the name it was opened under.
        parts: of its split.
        workers: at a time; 0 for one a GPU, or one for every two cores.
        backend: `ray`, `processes`, or `auto`: Ray where it is installed and RAY_ADDRESS names a cluster.
        progress: show a bar of finished units.

    Returns:
        The predictions, as written to `predictions.csv`.

    Raises:
        InputError: Ray was asked for and is not installed, or a unit's process keeps dying.
    """
    from age_keras.training.units import gather, unit_label

    if backend == "auto":
        backend = "ray" if os.environ.get("RAY_ADDRESS") and importlib.util.find_spec("ray") else "processes"
    units = [(backbone, part) for backbone in study.config.backbones for part in parts]
    left = [unit for unit in units if not study.run.file("state", f"{unit_label(*unit)}.csv").exists()]
    with tqdm(
        total=len(units), initial=len(units) - len(left), desc=experiment, unit="training", disable=not progress
    ) as bar:
        if left and backend == "ray":
            _with_ray(study, experiment, left, bar)
        elif left:
            _with_processes(study, experiment, left, min(workers or default_workers(), len(left)), bar)
    return gather(study, units)


def default_workers() -> int:
    """One a GPU; without, one for every two cores: two processes of one thread beat one of two by a tenth or two."""
    return len(gpus()) or max(1, cores() // 2)


def _train_one(study: "Study | tuple", backbone: str, part: "Part") -> str:
    """In a process of its own: opens the study again (its patches are on disk) and trains one unit."""
    from age_keras.training.study import open_study
    from age_keras.training.units import train_unit

    config, experiment, run = study
    opened = open_study(replace(config, run=run, fresh=False), experiment)
    train_unit(opened, backbone, part, progress=False)
    return f"{backbone} {part.label}"


def _reopen(study: "Study", experiment: str) -> tuple:
    return study.config, experiment, study.run.path.name


def _with_processes(study: "Study", experiment: str, units: Sequence, workers: int, bar: tqdm) -> None:
    left, deaths = list(units), 0
    while left:
        try:
            with _pool(workers) as pool:
                running = {pool.submit(_train_one, _reopen(study, experiment), *unit): unit for unit in left}
                for done in as_completed(running):
                    bar.set_postfix_str(done.result())
                    bar.update()
                    left.remove(running[done])
        except BrokenProcessPool:
            # Finished units have their records, the others go on from their saved epoch.
            deaths += 1
            if deaths >= MOST_DEATHS:
                raise InputError(
                    f"A training process died {deaths} times, probably for want of memory: give fewer workers. "
                    "What is finished is kept."
                ) from None
            print("A training process died; its training goes on in a new one.", file=sys.stderr)


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
    os.environ.update(share(place, workers, gpus()))


def _with_ray(study: "Study", experiment: str, units: Sequence, bar: tqdm) -> None:
    if importlib.util.find_spec("ray") is None:
        raise InputError("The backend `ray` needs Ray: pip install 'age_keras[ray]', or --backend processes.")
    import ray

    if not ray.is_initialized():
        ray.init(log_to_driver=False, include_dashboard=False)
    on_gpus = ray.cluster_resources().get("GPU", 0) > 0
    # A task that dies with its machine is run again elsewhere, and goes on from the saved epoch.
    task = ray.remote(num_cpus=2, num_gpus=1 if on_gpus else 0, max_retries=MOST_DEATHS)(_train_one)
    waiting = [task.remote(_reopen(study, experiment), *unit) for unit in units]
    while waiting:
        done, waiting = ray.wait(waiting)
        for finished in done:
            bar.set_postfix_str(ray.get(finished))
            bar.update()
