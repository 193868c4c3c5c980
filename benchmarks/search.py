"""A search: ours against plain Keras Tuner, with the same oracle, seed, folds and epochs, trial for trial.

    python benchmarks/search.py                                         # small and whole: minutes
    python -m experiments.baseline_cnn --synthetic-writers 200 --model.weights none --model.loss huber \\
        --backbones resnet50 --pages.image-size 112 --pages.stride 400 --training.frozen.epochs 0 \\
        --training.fine-tune.epochs 8 --training.fine-tune.unfreeze 1 --training.fine-tune.learning-rate 1e-3 \\
        --training.fine-tune.schedule cosine --training.augment none --run start
    python benchmarks/search.py --backbone resnet50 --image-size 224 --pages 30 --patches 1 --batch-size 8 \\
        --weights runs/baseline_cnn/start/checkpoints/resnet50.keras --head-epochs 10 --fine-tune-epochs 2 \\
        --folder /tmp/search --minutes 12

Plain: Keras Tuner's RandomSearch with a hypermodel that cross-validates by `Model.fit` on pixels, as users write it,
and keeps the best epoch of both phases, as ours does.
Ours: the same trials through `tuning`, with the prefix cache and the heads trained together; then once more with
hopeless trials cut. Each way starts with an empty feature cache and pays for filling it. Seconds are of the processor.
Times do not depend on the weights, but whether a trial can learn does, and so what can be cut: the second command
trains a network on drawn handwriting for some minutes, from which the third starts. Augmented copies are the same for
both (`--views`), so both see the same pixels. With `--folder` a benchmark that was ended by `--minutes` or killed goes
on; until all plain folds are run, or with `--plain-folds` so many of one trial of each unfreeze ratio, the time of the
others is taken from those of the same ratio.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib
import dataclasses
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import keras
import keras_tuner
import numpy as np
import pandas as pd
import tyro
from support.side_by_side import machine

from age_keras.backbones.build import build_backbone
from age_keras.config.age import PhaseConfig, SerialRuntime, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.data.batches.pipeline import batches, steps
from age_keras.data.patches.store import PatchStore
from age_keras.data.table.samples import Samples
from age_keras.files import write_json
from age_keras.models.age import build_age_model, unfreeze
from age_keras.run.folder import Run
from age_keras.training.feeds import PatchData
from age_keras.training.protocol import Part
from age_keras.training.study import Study
from tuning.hypermodel import AgeHyperModel, search_parts
from tuning.search_config import SearchConfig
from tuning.spaces import basic
from tuning.trials import ENDED, trials_of
from tuning.tuner import CrossValidationTuner, oracle_of


@dataclasses.dataclass(frozen=True)
class Settings:
    """The benchmark.

    Attributes:
        backbone, image_size: the model.
        weights: `none`, or a file from which both sides start, as a run's checkpoint of the same backbone.
        pages, patches: Size of the synthetic data set: pages, and patches per page.
        trials, folds: of the search.
        head_epochs, fine_tune_epochs: of each training.
        batch_size: patches a step.
        views: augmented copies a patch.
        plain_folds: of one trial of each unfreeze ratio, only so many are run the plain way; 0 runs all of all.
        ways: which to run; the others' results are taken from the folder.
        folder: where results are kept, to go on with; a temporary one by default.
        minutes: after which no further trial or plain fold is begun; 0 for no end.
    """

    backbone: str = "resnet10"
    image_size: int = 64
    weights: str = "none"
    pages: int = 60
    patches: int = 4
    trials: int = 20
    folds: int = 5
    head_epochs: int = 10
    fine_tune_epochs: int = 3
    batch_size: int = 16
    views: int = 1
    plain_folds: int = 0
    ways: tuple[Literal["ours", "cut", "plain"], ...] = ("ours", "cut", "plain")
    folder: Path | None = None
    minutes: float = 0.0


def make_study(settings: Settings, folder: Path) -> Study[SearchConfig]:
    """Synthetic pages: the darker, the older."""
    rng = np.random.default_rng(0)
    ages = rng.uniform(10, 60, settings.pages).round()
    table = pd.DataFrame(
        {
            "ImageID": [f"p{i}" for i in range(settings.pages)],
            "Age": ages,
            "Writer": [f"w{i}" for i in range(settings.pages)],
        }
    )
    page = np.repeat(np.arange(settings.pages), settings.patches).astype(np.int32)
    side = settings.image_size
    ink = rng.random((len(page), side, side, 1), np.float32) < (ages[page] / 120)[:, None, None, None]
    store = PatchStore(
        patches=np.where(ink, 40, 250).astype(np.uint8),
        page=page,
        box=np.zeros((len(page), 4), np.int32),
        page_sizes=np.full((settings.pages, 2), side, np.int32),
        keys=np.arange(len(page), dtype=np.uint64) * 7919,
        skipped=[],
        blank=[],
        path=folder,
    )
    config = SearchConfig(
        backbones=(settings.backbone,),
        model=ModelConfig(weights=settings.weights, batch_norm="inference"),
        training=TrainingConfig(
            frozen=PhaseConfig(settings.head_epochs, 1e-3, stop_patience=10**6, schedule="constant"),
            fine_tune=PhaseConfig(settings.fine_tune_epochs, 1e-4, 0.25, stop_patience=10**6, schedule="constant"),
            batch_size=settings.batch_size,
            augment="none" if settings.views == 1 else "handwriting",
            views=settings.views,
            batched_heads=True,
        ),
        runtime=SerialRuntime(tensorboard=False),
        trials=settings.trials,
        folds=settings.folds,
        bands=(),
        keep=0,
    )
    folder.mkdir(parents=True, exist_ok=True)
    data = PatchData(store, ages[page].astype(np.float32)[:, None])
    return Study(config, Run(folder), Samples(folder, table), data, True)


def with_own_weights(settings: Settings, folder: Path) -> Settings:
    """With a file of the backbone's weights alone: to build a saved model each time would burden the plain side."""
    if settings.weights == "none":
        return settings
    path = folder / "start.weights.h5"
    if not path.exists():
        written = folder / "written.weights.h5"
        build_backbone(settings.backbone, settings.image_size, 1, settings.weights).save_weights(written)
        written.replace(path)
    return dataclasses.replace(settings, weights=str(path))


class Notes:
    """What is known so far: a JSON file, and the end of this call's time."""

    def __init__(self, folder: Path, minutes: float):
        self.path = folder / "results.json"
        self.known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.until = time.monotonic() + 60 * minutes if minutes else float("inf")

    def note(self, name: str, value) -> None:
        self.known[name] = value
        write_json(self.path, self.known)

    def over(self) -> bool:
        return time.monotonic() > self.until


class OverError(BaseException):
    """The minutes are over: Keras Tuner must not take it for a failed trial."""


class Plain(keras_tuner.HyperModel):
    """What users of Keras Tuner write: a loop over folds around `Model.fit`."""

    def __init__(self, study: Study[SearchConfig], parts: list[Part], notes: Notes):
        super().__init__()
        self.study, self.parts, self.notes = study, parts, notes

    def build(self, hp):
        basic(hp, self.study.config)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        return {"objective": float(np.mean([self.fold(hp, part)["mae"] for part in self.parts]))}

    def fold(self, hp, part: Part) -> dict:
        """Seconds and MAE of a fold, from the notes where it was run."""
        config = basic(hp, self.study.config)
        name = f"plain {name_of(hp.values)} {part.label}"
        if name not in self.notes.known:
            if self.notes.over():
                raise OverError
            begin = time.process_time()
            mae = self._fold(config, part)
            self.notes.note(name, {"seconds": time.process_time() - begin, "mae": mae})
        return self.notes.known[name]

    def _fold(self, config: SearchConfig, part: Part) -> float:
        store, training = self.study.data.store, config.training
        learn, choose, scored = (np.flatnonzero(p[store.page]) for p in (part.learn, part.choose, part.score))
        keras.utils.clear_session()
        keras.utils.set_random_seed(config.seed)
        median = float(self.study.table["Age"][part.learn].median())
        age = build_age_model(config.backbone, config.model, store.patches.shape[1], store.patches.shape[-1], median)
        arrays = (store.patches, self.study.data.targets, store.keys)
        shared: dict[str, Any] = {"batch_size": training.batch_size, "seed": config.seed}
        lowest, weights = float("inf"), None
        for phase in (training.frozen, training.fine_tune):
            if not phase.epochs:
                continue
            unfreeze(age, phase.unfreeze)
            age.trained.compile(keras.optimizers.Adam(phase.learning_rate), loss="mae", metrics=["mae"])
            best = keras.callbacks.EarlyStopping("val_mae", patience=phase.epochs, restore_best_weights=True)
            fitted = age.trained.fit(
                batches(*arrays, shuffle=True, indices=learn, **shared),
                steps_per_epoch=steps(len(learn), training.batch_size, False),
                validation_data=batches(*arrays, shuffle=False, epochs=1, indices=choose, **shared),
                epochs=phase.epochs,
                callbacks=[best],
                verbose=0,
            )
            if min(fitted.history["val_mae"]) < lowest:
                lowest, weights = min(fitted.history["val_mae"]), age.trained.get_weights()
        age.trained.set_weights(weights)
        predicted = age.predictor.predict(store.patches[scored], verbose=0)
        pages = pd.DataFrame(predicted).groupby(store.page[scored]).mean()[0]
        return float(np.abs(pages - self.study.table["Age"].to_numpy()[pages.index]).mean())


def ours(settings: Settings, folder: Path, name: str, notes: Notes) -> tuple[float, list]:
    """Goes on with our search; seconds of all calls together, a cold cache included, and the trials that have ended."""
    race = 1.0 if name == "cut" else 0.0
    os.environ["AGE_KERAS_CACHE"] = str(folder / f"cache-{name}")
    study = make_study(settings, folder / name)
    config = dataclasses.replace(study.config, race=race)
    study = dataclasses.replace(study, config=config)
    parts, _ = search_parts(study, settings.folds)
    trials = trials_of(study.run.path, config)
    if name in settings.ways and len(trials.all()) < settings.trials and not notes.over():
        model = AgeHyperModel(study, parts)
        oracle = oracle_of(study.run.path, config, model)
        tuner, begin = CrossValidationTuner(oracle, model, study.run.path), time.process_time()
        model.ahead = oracle.ahead
        tuner.search(until=notes.over)
        notes.note(name, notes.known.get(name, 0.0) + time.process_time() - begin)
    return notes.known.get(name, 0.0), [record for record in trials.all() if record.status in ENDED]


def plain_search(settings: Settings, folder: Path, notes: Notes) -> None:
    """The whole search by plain Keras Tuner, as far as the time goes; its folds are in the notes."""
    study = make_study(settings, folder / "plain")
    model = Plain(study, search_parts(study, settings.folds)[0], notes)
    objective = keras_tuner.Objective("objective", "min")
    shared = {"max_trials": settings.trials, "seed": 1, "directory": folder / "keras_tuner", "overwrite": True}
    with contextlib.suppress(OverError):
        keras_tuner.RandomSearch(model, objective, **shared).search(verbose=0)


def plain_folds(settings: Settings, folder: Path, records: list, notes: Notes) -> dict[str, list[dict]]:
    """The plain folds of these trials, by trial: those in the notes, and more while there is time."""
    study = make_study(settings, folder / "plain")
    model = Plain(study, search_parts(study, settings.folds)[0], notes)
    found = {record.trial: [] for record in records}
    for record in first_of_ratio(records) if settings.plain_folds else records:
        hp = keras_tuner.HyperParameters()
        hp.values = dict(record.values)
        # The same oracle and seed: our trials are Keras Tuner's.
        with contextlib.suppress(OverError):
            for part in model.parts[: settings.plain_folds or settings.folds]:
                found[record.trial].append(model.fold(hp, part))
    return found


def first_of_ratio(records: list) -> list:
    """The first trial of each unfreeze ratio."""
    return list({record.values["unfreeze"]: record for record in reversed(records)}.values())


def plain_seconds(settings: Settings, records: list, plain: dict[str, list[dict]]) -> float | None:
    """Of all folds of these trials: one that was not run takes as long as those of its ratio. None without any."""
    by_ratio: dict[float, list[float]] = {}
    for record in records:
        by_ratio.setdefault(record.values["unfreeze"], []).extend(fold["seconds"] for fold in plain[record.trial])
    if not records or not all(by_ratio.values()):
        return None
    total = 0.0
    for record in records:
        own = [fold["seconds"] for fold in plain[record.trial]]
        total += sum(own) + (settings.folds - len(own)) * float(np.mean(by_ratio[record.values["unfreeze"]]))
    return total


def compare(settings: Settings, name: str, seconds: float, records: list, plain: dict[str, list[dict]]) -> None:
    """Prints one of our ways against the plain one."""
    slow, wanted = plain_seconds(settings, records, plain), len(records) * settings.folds
    if slow is None:
        print(f"{name}: {len(records)} trials in {seconds:.0f} s; there are not enough plain folds yet.")
        return
    run = sum(len(folds) for folds in plain.values())
    how = "all folds" if run == wanted else f"{run} of {wanted} folds, the others as those of the same ratio"
    print(
        f"{name}: {len(records)} trials, {sum(len(record.folds) for record in records)} of {wanted} folds, "
        f"{seconds:.0f} s; plain Keras Tuner {slow:.0f} s ({how}): {slow / seconds:.1f} times faster"
    )
    whole = {r.trial: r.objective for r in records if r.status == "complete"}
    scores = {trial: float(np.mean([f["mae"] for f in folds])) for trial, folds in plain.items() if folds}
    scores = {trial: score for trial, score in scores.items() if len(plain[trial]) == settings.folds}
    best = min(whole, key=whole.__getitem__)
    print(f"  its best trial: {best} with MAE {whole[best]:.3f}")
    if best in scores:
        top = min(scores, key=scores.__getitem__)
        print(f"  plain's best of {len(scores)} trials: {top}, MAE {scores[top]:.3f}; {best} has {scores[best]:.3f}")
    print("  MAE by trial, plain:", {trial: round(score, 2) for trial, score in scores.items()})
    print("  MAE by trial, ours: ", {r.trial: round(r.objective, 2) for r in records})


def name_of(values: dict) -> str:
    """A trial by its values."""
    return json.dumps({name: round(value, 8) for name, value in sorted(values.items()) if "/" not in name})


def main(settings: Settings) -> int:
    """Prints seconds and ratios, of what is known so far where the time was short."""
    print(machine(), settings, sep="\n", flush=True)
    folder = settings.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    notes = Notes(folder, settings.minutes)
    settings = with_own_weights(settings, folder)
    results = {name: ours(settings, folder, name, notes) for name in ("ours", "cut")}
    if "plain" not in settings.ways:
        notes.until = 0.0  # Only what is in the notes.
    elif not settings.plain_folds:
        # The best trials first, so that a short time tells how good the other side's choice is.
        ranked = sorted(results["ours"][1], key=lambda record: record.objective)
        plain_folds(settings, folder, ranked[:3], notes)
        plain_search(settings, folder, notes)
    for name, (seconds, records) in results.items():
        compare(settings, name, seconds, records, plain_folds(settings, folder, records, notes))
    if settings.folder is None:
        shutil.rmtree(folder)
    else:
        print(f"To go on where the time was short: the same command again, with --folder {folder}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
