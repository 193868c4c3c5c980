"""A search: ours against plain Keras Tuner, with the same oracle, seed, folds and epochs, trial for trial.

    python benchmarks/search.py                                         # small: minutes on a laptop
    python benchmarks/search.py --backbone resnet50 --image-size 224 --trials 20 --folds 5 \\
        --head-epochs 50 --fine-tune-epochs 10 --pages 600              # the mission's: days for the plain way

Plain: Keras Tuner's RandomSearch with a hypermodel that cross-validates by `Model.fit` on pixels, as users write it.
Ours: the same trials through `tuning`, with the prefix cache and the folds' heads trained together; then once more with
hopeless trials cut. Each way starts with an empty feature cache and pays for filling it. Random weights: times do not
depend on them. Whether both ways choose alike can be read from the trials printed, with trained weights only.
Augmented copies are the same for both (`--views`), so both see the same pixels.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pandas as pd
import tyro
from side_by_side import machine

from age_keras.data.patch_store import PatchStore
from age_keras.data.pipeline import batches, steps
from age_keras.data.samples import Samples
from age_keras.models.age import ModelConfig, build_age_model, unfreeze
from age_keras.training.age_config import PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.training.feeds import PatchData
from age_keras.training.protocol import Part
from age_keras.training.run import Run
from age_keras.training.study import Study
from tuning.hypermodel import AgeHyperModel
from tuning.objective import OBJECTIVES
from tuning.parts import search_parts
from tuning.search import run_trials, trials_of
from tuning.search_config import SearchConfig
from tuning.spaces import mission


@dataclasses.dataclass(frozen=True)
class Settings:
    """The benchmark.

    Attributes:
        backbone, image_size: the model, without published weights.
        pages, patches: a made-up data set: pages, and patches a page.
        trials, folds: of the search.
        head_epochs, fine_tune_epochs: of each training.
        batch_size: patches a step.
        views: augmented copies a patch.
        plain_trials: of the plain way, which is long, only so many are run; the rest is extrapolated. 0 for all.
    """

    backbone: str = "mobilenetv3_small"
    image_size: int = 96
    pages: int = 60
    patches: int = 4
    trials: int = 6
    folds: int = 5
    head_epochs: int = 10
    fine_tune_epochs: int = 3
    batch_size: int = 16
    views: int = 1
    plain_trials: int = 2


class Plain(keras_tuner.HyperModel):
    """What users of Keras Tuner write: a loop over folds around `Model.fit`."""

    def __init__(self, study: Study, parts: list[Part]):
        super().__init__()
        self.study, self.parts, self.seconds, self.scores = study, parts, [], []

    def build(self, hp):
        mission(hp, self.study.config)
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])

    def fit(self, hp, model, *args, **kwargs):
        begin = time.perf_counter()
        config = mission(hp, self.study.config)
        self.scores.append(float(np.mean([self._fold(config, part) for part in self.parts])))
        self.seconds.append(time.perf_counter() - begin)
        return {"objective": self.scores[-1]}

    def _fold(self, config: SearchConfig, part: Part) -> float:
        store, training = self.study.data.store, config.training
        learn, choose, scored = (np.flatnonzero(p[store.page]) for p in (part.learn, part.choose, part.score))
        keras.utils.clear_session()
        keras.utils.set_random_seed(config.seed)
        median = float(self.study.table["Age"][part.learn].median())
        age = build_age_model(config.model, store.patches.shape[1], store.patches.shape[-1], median)
        arrays = (store.patches, self.study.data.targets, store.keys)
        shared = {"batch_size": training.batch_size, "seed": config.seed}
        for phase in (training.head, training.fine_tune):
            if not phase.epochs:
                continue
            unfreeze(age, phase.unfreeze)
            age.trained.compile(keras.optimizers.Adam(phase.learning_rate), loss="mae", metrics=["mae"])
            age.trained.fit(
                batches(*arrays, shuffle=True, indices=learn, **shared),
                steps_per_epoch=steps(len(learn), training.batch_size, False),
                validation_data=batches(*arrays, shuffle=False, epochs=1, indices=choose, **shared),
                epochs=phase.epochs,
                verbose=0,
            )
        predicted = age.predictor.predict(store.patches[scored], verbose=0)
        pages = pd.DataFrame(predicted).groupby(store.page[scored]).mean()[0]
        return float(np.abs(pages - self.study.table["Age"].to_numpy()[pages.index]).mean())


def make_study(settings: Settings, folder: Path) -> Study:
    """Made-up pages: the darker, the older."""
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
        model=ModelConfig(settings.backbone, weights="none", batch_norm="inference"),
        training=TrainingConfig(
            head=PhaseConfig(settings.head_epochs, 1e-3, stop_patience=10**6, schedule="constant"),
            fine_tune=PhaseConfig(settings.fine_tune_epochs, 1e-4, 0.25, stop_patience=10**6, schedule="constant"),
            batch_size=settings.batch_size,
            augment="none" if settings.views == 1 else "handwriting",
            views=settings.views,
            batched_heads=True,
        ),
        runtime=RuntimeConfig(tensorboard=False),
        trials=settings.trials,
        folds=settings.folds,
        bands=(),
        keep=0,
    )
    folder.mkdir(parents=True, exist_ok=True)
    data = PatchData(store, ages[page].astype(np.float32)[:, None])
    return Study(config, Run(folder), Samples(folder, table), data, True)


def ours(settings: Settings, race: float) -> tuple[float, list]:
    """Seconds of the whole search, cold cache, and its records."""
    folder = Path(tempfile.mkdtemp())
    os.environ["AGE_KERAS_CACHE"] = str(folder / "cache")
    study = make_study(settings, folder / "run")
    config = dataclasses.replace(study.config, race=race)
    parts, _ = search_parts(study, settings.folds)
    trials = trials_of(study.run.path, config)
    model = AgeHyperModel(
        study, parts, "mission", trials=trials, objective=OBJECTIVES["mae"], race_strength=race, keep=0
    )
    begin = time.perf_counter()
    run_trials(study.run.path, config, model, progress=False)
    seconds = time.perf_counter() - begin
    records = trials.all()
    shutil.rmtree(folder)
    return seconds, records


def plain(settings: Settings) -> tuple[float, Plain]:
    """Seconds of the whole search by plain Keras Tuner, extrapolated over trials where not all were run."""
    folder = Path(tempfile.mkdtemp())
    study = make_study(settings, folder / "run")
    parts, _ = search_parts(study, settings.folds)
    model = Plain(study, parts)
    run = settings.plain_trials or settings.trials
    tuner = keras_tuner.RandomSearch(
        model, keras_tuner.Objective("objective", "min"), max_trials=run, seed=1, directory=folder, overwrite=True
    )
    tuner.search(verbose=0)
    shutil.rmtree(folder)
    return float(np.sum(model.seconds)) * settings.trials / run, model


def main(settings: Settings) -> int:
    """Prints seconds and ratios."""
    print(machine(), flush=True)
    print(settings, flush=True)
    whole, records = ours(settings, race=0.0)
    print(f"ours, all folds:           {whole:8.1f} s for {len(records)} trials", flush=True)
    cut, raced = ours(settings, race=1.0)
    folds = sum(len(record.folds) for record in raced)
    print(f"ours, hopeless trials cut: {cut:8.1f} s ({folds} of {settings.trials * settings.folds} folds)", flush=True)
    slow, model = plain(settings)
    how = "" if len(model.seconds) == settings.trials else f", extrapolated from {len(model.seconds)} trials"
    print(f"plain Keras Tuner:         {slow:8.1f} s{how}", flush=True)
    best = min(records, key=lambda r: r.objective).trial
    kept = min((r for r in raced if r.status == "complete"), key=lambda r: r.objective).trial
    print(f"best trial with all folds {best}, with cuts {kept}")
    print(f"ratio: {slow / whole:.1f} times faster trial for trial, {slow / cut:.1f} with hopeless trials cut")
    first = [record.objective for record in records[: len(model.scores)]]
    print(f"MAE of the first trials, ours {np.round(first, 3)}, plain {np.round(model.scores, 3)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Settings, description=__doc__)))
