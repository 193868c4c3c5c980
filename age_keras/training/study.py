"""An experiment's ground: its pages, its patches, its run folder; and the training of one model after another on it.

Every experiment is the same few lines: `open_study`, the parts of its split, `train_all`, `finish`.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import pandas as pd

from age_keras.backbones.registry import get_spec
from age_keras.config.age import AgeConfig
from age_keras.data.patches.store import PatchStore
from age_keras.data.synthetic.cohort import is_synthetic, synthesize
from age_keras.data.table.samples import Samples, read_samples
from age_keras.errors import InputError
from age_keras.files import cache_dir
from age_keras.run.folder import Run
from age_keras.training.feeds import PatchData
from age_keras.training.rare_ages import lds_weights
from age_keras.training.request import check_columns, check_request, size_remarks

Config = TypeVar("Config", bound=AgeConfig)
Other = TypeVar("Other", bound=AgeConfig)


@dataclass(frozen=True)
class Study(Generic[Config]):
    """An opened experiment.

    Attributes:
        config: its configuration.
        run: its folder.
        samples: its pages.
        data: their patches.
        synthetic: whether the pages are made up.
    """

    config: Config
    run: Run
    samples: Samples
    data: PatchData
    synthetic: bool

    @property
    def table(self) -> pd.DataFrame:
        return self.samples.table

    def with_config(self, config: Other) -> "Study[Other]":
        """The same pages, patches and folder for a variant of the model or the protocol."""
        return Study(config, self.run, self.samples, patch_data(self.samples, self.data.store, config), self.synthetic)

    def image(self, image_id: str) -> Path:
        """The file of a page, for the pictures of a report."""
        return self.samples.root / image_id

    def notes(self) -> list[str]:
        """What a reader of the report should know of how its models were trained, each sentence once."""
        notes = size_remarks(self.config) + [
            note
            for file in sorted(self.run.path.glob("state/*.notes.json"))
            for note in self.run.read_json(f"state/{file.name}")
        ]
        return list(dict.fromkeys(notes))


def open_samples(config: AgeConfig) -> Samples:
    """The pages of an experiment: the folder given, or a synthetic cohort in the cache folder."""
    folder = config.data
    if folder is None:
        folder = cache_dir() / "synthetic" / f"writers{config.synthetic_writers}-seed{config.seed}"
        synthesize(folder, writers=config.synthetic_writers, seed=config.seed)
    samples = read_samples(folder, config.labels, config.columns, config.skip_bad)
    if config.source:
        if "Source" not in samples.table:
            raise InputError(f"{folder} has no column of sources: leave --source out, or give --columns.source.")
        kept = samples.table["Source"].isin(config.source).to_numpy()
        if not kept.any():
            known = ", ".join(sorted(samples.table["Source"].dropna().unique()))
            raise InputError(f"No page of {folder} has a source in {', '.join(config.source)}: there are {known}.")
        samples = samples.subset(kept)
    return samples


def open_study(config: Config, experiment: str, samples: Samples | None = None) -> Study[Config]:
    """Reads the pages, cuts their patches (once for all runs) and opens the run's folder.

    Args:
        config: the experiment's configuration.
        experiment: its name, the folder under `runs/`.
        samples: pages that are read already. Defaults to `open_samples(config)`.

    Raises:
        InputError: anything about the data or the folder that a user can mend.
    """
    check_request(config)
    samples = samples or open_samples(config)
    check_columns(config, samples.table, samples.root)
    samples, store, skipped = _pages(config, samples)
    synthetic = is_synthetic(samples.root)
    run = Run.open(
        config.runs,
        experiment,
        replace(config, runs=Path("runs"), run=None, fresh=False, runtime=replace(config.runtime, workers=1)),
        config.run,
        config.fresh,
        data_fingerprint=samples.fingerprint,
        data_folder=samples.root,
        synthetic=synthetic,
        pages=len(samples),
        writers=int(samples.table["Writer"].nunique()),
        patches=len(store),
        skipped=skipped,
        blank_pages=store.blank,
        warnings=samples.warnings,
        input_scaling={name: {"mean": (spec := get_spec(name)).mean, "std": spec.std} for name in config.backbones},
    )
    return Study(config, run, samples, patch_data(samples, store, config), synthetic)


def reopen_study(config: Config, run: Path) -> Study[Config]:
    """An experiment that another process has opened: the same pages and patches; the run's facts are left alone.

    Args:
        config: of the opened study.
        run: its folder.
    """
    samples, store, _ = _pages(config, open_samples(config))
    return Study(config, Run(run), samples, patch_data(samples, store, config), is_synthetic(samples.root))


def _pages(config: AgeConfig, samples: Samples) -> tuple[Samples, PatchStore, list]:
    """The pages that can be read, their patches, and what was left out."""
    store = PatchStore.open(samples, config.pages, skip_bad=config.skip_bad)
    skipped = [*samples.skipped, *store.skipped]
    if store.skipped:
        unread = {name for name, _ in store.skipped}
        samples = samples.subset(~samples.table["ImageID"].isin(unread).to_numpy())
        store = PatchStore.open(samples, config.pages, skip_bad=True)
    return samples, store, skipped


def patch_data(samples: Samples, store: PatchStore, config: AgeConfig) -> PatchData:
    """Patches with their targets, and weights where the protocol asks for them."""
    ages = samples.table["Age"].to_numpy(np.float32)
    weights = lds_weights(ages)[store.page] if config.training.rare_ages == "lds" else None
    return PatchData(store, ages[store.page][:, None], weights)
