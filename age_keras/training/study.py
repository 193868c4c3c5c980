"""An experiment's ground: its pages, its patches, its run folder; and the training of one model after another on it.

Every experiment is the same few lines: `open_study`, the parts of its split, `train_all`, `finish`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.data.bands import BAND_EDGES
from age_keras.data.patch_store import PatchStore
from age_keras.data.samples import Samples, read_samples
from age_keras.data.splits import holdout, refuse_leak
from age_keras.data.synthetic import is_synthetic, synthesize
from age_keras.errors import InputError
from age_keras.evaluation.predictions import write_predictions
from age_keras.files import atomic_write, cache_dir
from age_keras.training.age_config import AgeConfig
from age_keras.training.configuration import to_dict
from age_keras.training.feeds import PatchData
from age_keras.training.protocol import Part, train, with_backbone
from age_keras.training.rare_ages import lds_weights
from age_keras.training.run import Run, versions

PASSED_ON = ("Sex", "Hand", "Source")


@dataclass(frozen=True)
class Study:
    """An opened experiment.

    Attributes:
        config: its configuration.
        run: its folder.
        samples: its pages.
        data: their patches.
        synthetic: whether the pages are made up.
    """

    config: AgeConfig
    run: Run
    samples: Samples
    data: PatchData
    synthetic: bool

    @property
    def table(self) -> pd.DataFrame:
        return self.samples.table

    def image(self, image_id: str) -> Path:
        """The file of a page, for the pictures of a report."""
        return self.samples.root / image_id

    def notes(self) -> list[str]:
        """What a reader of the report should know of how its models were trained, each sentence once."""
        notes = [
            note
            for file in sorted(self.run.path.glob("state/*.notes.json"))
            for note in self.run.read_json(f"state/{file.name}")
        ]
        if self.config.training.selection == "published":
            notes.insert(
                0, "Published protocol: the epoch was chosen on the pages that are scored, so the errors are too small."
            )
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


def open_study(config: AgeConfig, experiment: str, samples: Samples | None = None) -> Study:
    """Reads the pages, cuts their patches (once for all runs) and opens the run's folder.

    Args:
        config: the experiment's configuration.
        experiment: its name, the folder under `runs/`.
        samples: pages that are read already. Defaults to `open_samples(config)`.

    Raises:
        InputError: anything about the data or the folder that a user can mend.
    """
    if not config.backbones:
        raise InputError("`backbones` is empty: give one or more names (`age-keras backbones list`).")
    samples = samples or open_samples(config)
    store = PatchStore.open(samples, config.pages, skip_bad=config.skip_bad)
    skipped = [*samples.skipped, *store.skipped]
    if store.skipped:
        unread = {name for name, _ in store.skipped}
        samples = samples.subset(~samples.table["ImageID"].isin(unread).to_numpy())
        store = PatchStore.open(samples, config.pages, skip_bad=True)
    synthetic = is_synthetic(samples.root)
    run = Run.open(
        config.runs,
        experiment,
        replace(config, runs=Path("runs"), run=None, fresh=False),
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
    )
    ages = samples.table["Age"].to_numpy(np.float32)
    weights = lds_weights(ages)[store.page] if config.training.rare_ages == "lds" else None
    return Study(config, run, samples, PatchData(store, ages[store.page][:, None], weights), synthetic)


def holdout_part(study: Study) -> Part:
    """The hold-out split: the table's own where it has one, else by writer and age band. Recorded in the run."""
    config, table = study.config, study.table
    if config.use_split and "Split" in table and table["Split"].notna().all():
        parts = table["Split"].to_numpy(str)
        refuse_leak(table, parts)
        for name in ("train", "test"):
            if not (parts == name).any():
                raise InputError(f"The table's split has no {name} page: mend its column, or give --no-use-split.")
    else:
        parts = holdout(table, config.validation, config.test, config.seed, config.bands)
    write_split(study, parts)
    learn, choose = parts == "train", parts == "val"
    if not choose.any():
        raise InputError("No page chooses the epoch: give --validation a share above 0, or a `val` part in the table.")
    return Part("", learn, choose, parts == "test")


def write_split(study: Study, parts: np.ndarray, repeats: Sequence[np.ndarray] = ()) -> None:
    """Records who is where, page by page, so that no library version can move a writer.

    Args:
        study: whose pages.
        parts: str (N,), `train`, `val`, `test` or `oof`.
        repeats: int (N,) each, the folds of each repeat of a cross-validation.
    """
    table = study.table[["ImageID", "Age", "Writer"]].assign(Split=parts)
    for number, folds in enumerate(repeats):
        table["Fold" if number == 0 else f"Fold{number + 1}"] = folds
    with atomic_write(study.run.file("train_labels.csv")) as file:
        table.to_csv(file, index=False)


def train_all(study: Study, parts: Sequence[Part], progress: bool = True) -> pd.DataFrame:
    """Trains each backbone on each part, skipping what is finished, and writes predictions and history.

    Args:
        study: the opened experiment.
        parts: one for a hold-out, one a fold for a cross-validation.
        progress: show bars.

    Returns:
        The predictions, as written to `predictions.csv`.
    """
    units = [(backbone, part) for backbone in study.config.backbones for part in parts]
    for number, (backbone, part) in enumerate(units, start=1):
        train_unit(study, backbone, part, f"[{number}/{len(units)}]", progress)
    return gather(study, units)


def unit_label(backbone: str, part: Part) -> str:
    """Names a training in files: `resnet50`, or `resnet50-fold2`."""
    return f"{backbone}-{part.label}" if part.label else backbone


def train_unit(study: Study, backbone: str, part: Part, count: str = "", progress: bool = True) -> None:
    """One model on one part: trains it (or goes on), saves it with its facts, and records its predictions."""
    from age_keras.models.bundle import save_bundle
    from age_keras.training import tensorboard

    label, run = unit_label(backbone, part), study.run
    done, state = run.file("state", f"{label}.csv"), run.file("state", f"{label}.npz")
    if done.exists():
        return
    config = with_backbone(study.config, backbone)
    board = run.path / "tensorboard" / label
    show = config.runtime.tensorboard
    trained = train(
        config,
        study.data,
        study.table,
        part,
        state,
        callbacks=(lambda phase: [tensorboard.scalar_callback(board)]) if show else None,
        title=f"{count} {label}",
        progress=progress,
    )
    predictions = _prediction_rows(study, trained.pages, backbone, part)
    scored = predictions[predictions["Split"] != "val"]
    error = (scored["Prediction"] - scored["TrueAge"]).abs().mean()
    if show:
        tensorboard.write_patches(board, trained.sample)
        tensorboard.write_result(board, scored, config, {"MAE": float(error)}, len(trained.history))
    calibration = predictions[predictions["Split"] == "val"]
    save_bundle(
        run.file("checkpoints", f"{label}.keras"),
        trained.model.predictor,
        {
            "kind": "age",
            "name": backbone,
            "model": to_dict(config.model),
            "pages": to_dict(config.pages),
            "bands": list(config.bands or BAND_EDGES),
            "synthetic": study.synthetic,
            "data_fingerprint": study.samples.fingerprint,
            "versions": versions(),
            # The pages that chose the epoch: held out from the weights, so they can calibrate intervals.
            "calibration": calibration[
                ["Writer", "TrueAge", "Prediction", *(c for c in ("Lower", "Upper") if c in calibration)]
            ].to_dict("list"),
        },
    )
    trained.history.insert(0, "model", backbone)
    with atomic_write(run.file("state", f"{label}.history.csv")) as file:
        trained.history.to_csv(file, index=False)
    run.write_json(f"state/{label}.notes.json", trained.notes)
    write_predictions(done, predictions)
    state.unlink(missing_ok=True)


def gather(study: Study, units: Sequence[tuple[str, Part]]) -> pd.DataFrame:
    """Puts the records of all trainings together: `predictions.csv` and `history.csv`."""
    labels = [unit_label(backbone, part) for backbone, part in units]
    state = study.run.path / "state"
    predictions = pd.concat([pd.read_csv(state / f"{label}.csv", dtype={"Writer": str}) for label in labels])
    write_predictions(study.run.file("predictions.csv"), predictions)
    with atomic_write(study.run.file("history.csv")) as file:
        pd.concat([pd.read_csv(state / f"{label}.history.csv") for label in labels]).to_csv(file, index=False)
    return predictions


def _prediction_rows(study: Study, pages: pd.DataFrame, backbone: str, part: Part) -> pd.DataFrame:
    """Rows of `predictions.csv`: the scored pages, and the pages that chose the epoch as `val`."""
    table = study.table.iloc[pages["page"]]
    scored = part.score[pages["page"].to_numpy()]
    rows = pd.DataFrame(
        {
            "ImageID": table["ImageID"].to_numpy(),
            "TrueAge": table["Age"].to_numpy(),
            "Prediction": pages["Prediction"].to_numpy(),
            "Model": f"{backbone}-{part.repeat}" if part.repeat else backbone,
            "Fold": part.fold,
            "Writer": table["Writer"].to_numpy(),
            "Split": np.where(scored, "oof" if part.fold else "test", "val"),
        }
    )
    for column in ("Lower", "Upper"):
        if column in pages:
            rows[column] = pages[column].to_numpy()
    for column in PASSED_ON:
        if column in table:
            rows[column] = table[column].to_numpy()
    return rows
