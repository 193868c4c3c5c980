"""What recurrence, attention and augmentation each add to the recogniser: one change at a time, several seeds.

    python -m experiments.digits_ablation                                       # scikit-learn's digits
    python -m experiments.digits_ablation --data mnist --path ../shared/data/mnist.npz --limit 12000

Every variant is trained from the same seeds on the same digits; a difference counts only when its interval over the
seeds excludes zero. Re-run the command to resume an interrupted run: finished trainings are kept. docs/digits.md has
the results.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

from age_keras.characters.config import (
    CharacterRun,
    DataName,
    HeldOut,
    RecogniserConfig,
    RecogniserTraining,
    Seeds,
    small_config,
)
from age_keras.characters.data.sources import load_characters
from age_keras.characters.data.splits import split_parts
from age_keras.cli import run_experiment
from age_keras.config.settings import Distinct
from age_keras.errors import InputError

CHANGES: dict[str, dict[str, Any]] = {
    "no recurrence": {"recurrence": "none"},
    "LSTM": {"recurrence": "lstm"},
    "both ways": {"bidirectional": True},
    "transformer": {
        "encoder": "transformer",
        "recurrence": "gru",
        "unroll": True,
    },  # What has no effect, as by default.
    "no attention": {"attention": "none"},
    "single-head attention": {"attention": "dot"},
    "no recurrence, no attention": {"recurrence": "none", "attention": "none"},
    "rows instead of columns": {"sequence": "rows"},
    "full resolution first": {"detail": (8,)},
    "no batch normalisation": {"normalise": False},
}
TRAINING_CHANGES: dict[str, dict[str, Any]] = {
    "no augmentation": {"augment": False},
    "no label smoothing": {"label_smoothing": 0.0},
    "no weight averaging": {"ema": 0.0},
    "plain SGD": {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant", "ema": 0.0, "weight_decay": 0.0},
}
TRAINING = RecogniserTraining(epochs=3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CharacterRun):
    """The experiment.

    Args:
        data: Set of characters.
        model: The whole model, which each variant changes in one way.
        training: How all variants are trained.
        variants: Names of the variants to train. By default all of them.
        seeds: Seeds of each variant. Three at least give an interval worth reading.
        validation: Fraction of the training part that is held out.
    """

    data: DataName = "digits"
    model: RecogniserConfig = dataclasses.field(default_factory=small_config)
    training: RecogniserTraining = TRAINING
    variants: Annotated[tuple[str, ...], Distinct] = ()
    seeds: Seeds = (0, 1, 2)
    validation: HeldOut = 1 / 12


def get_config() -> Config:
    """The default: the small recogniser on scikit-learn's digits."""
    return Config()


def variants(config: Config) -> dict[str, tuple[RecogniserConfig, RecogniserTraining]]:
    """Name to model and training; "whole" comes first."""
    known = ("whole", *CHANGES, *TRAINING_CHANGES)
    if unknown := set(config.variants) - set(known):
        raise InputError(f"There is no variant {sorted(unknown)[0]!r}; there are {', '.join(known)}.")
    return {
        name: (
            dataclasses.replace(config.model, **CHANGES.get(name, {})),
            dataclasses.replace(config.training, **TRAINING_CHANGES.get(name, {})),
        )
        for name in known
        if not config.variants or name in ("whole", *config.variants)
    }


def experiment(config: Config) -> Path:
    """Trains every variant from every seed, writes the report. Returns its path."""
    chosen = variants(config)
    characters = load_characters(config.data, config.path)
    parts = split_parts(characters, config.validation, config.limit)
    run = config.open("digits_ablation", characters.fingerprint)

    import keras
    import numpy as np

    from age_keras.characters.evaluation.ablation_report import write_ablation_report
    from age_keras.characters.model.recogniser import predict_probabilities
    from age_keras.characters.training.train_seed import train_fresh

    rows = {name: {} for name in chosen}
    for seed in config.seeds:
        for name, (shape, training) in chosen.items():
            kept = f"state/{name.replace(' ', '_')}_{seed}.json"
            if not run.file(kept).exists():
                label = f"{name}, seed {seed}"
                model, history = train_fresh(shape, training, parts["train"], parts["validation"], seed, label)
                answer = predict_probabilities(model, parts["test"].images).argmax(axis=1)
                row = {
                    "error": float((answer != parts["test"].labels).mean()),
                    "parameters": model.count_params(),
                    "seconds": float(np.median([r["seconds"] for r in history[1:] or history])),
                }
                run.write_json(kept, row)
                keras.backend.clear_session()
            rows[name][seed] = run.read_json(kept)
    return write_ablation_report(run.path, characters.name, rows, config.training.epochs)


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
