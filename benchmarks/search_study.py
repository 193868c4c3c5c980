"""What `benchmarks/search.py` searches over: made-up pages, and a study of them."""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from age_keras.backbones.build import build_backbone
from age_keras.config.age import PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.data.patches.store import PatchStore
from age_keras.data.table.samples import Samples
from age_keras.run.folder import Run
from age_keras.training.feeds import PatchData
from age_keras.training.study import Study
from tuning.search_config import SearchConfig


@dataclasses.dataclass(frozen=True)
class Settings:
    """The benchmark.

    Attributes:
        backbone, image_size: the model.
        weights: `none`, or a file from which both sides start, as a run's checkpoint of the same backbone.
        pages, patches: a made-up data set: pages, and patches a page.
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
        model=ModelConfig(weights=settings.weights, batch_norm="inference"),
        training=TrainingConfig(
            frozen=PhaseConfig(settings.head_epochs, 1e-3, stop_patience=10**6, schedule="constant"),
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
