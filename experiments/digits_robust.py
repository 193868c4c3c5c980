"""Trains a recogniser against an adversary, and measures it beside others: attacks, corruptions, other images.

    python -m experiments.digits_robust                                        # scikit-learn's digits
    python -m experiments.digits_robust --data mnist --path ../shared/data/mnist.npz \
        --against runs/digits_mnist/usual/checkpoints/seed0.keras

Training is on PGD whose steps grow in number over the training (`--adversary.kind fgsm` or `pgd` for others); the
attacks that grade it are Foolbox's (`pip install -e ".[attacks]"`). docs/digits.md has times and results.
"""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen

from age_keras.characters.config import (
    Adversary,
    CharacterRun,
    Confidence,
    DataName,
    Epsilon,
    HeldOut,
    RecogniserConfig,
    RecogniserTraining,
    WarpSettings,
)
from age_keras.characters.data.sources import load_characters
from age_keras.characters.data.splits import split_parts
from age_keras.cli import run_experiment
from age_keras.config.settings import AtLeastOne, Count, Distinct, Seed
from age_keras.errors import InputError

ROBUST_MODEL = RecogniserConfig(
    detail=(), stem=24, stages=((32,), (64,)), units=64, bidirectional=False, dropout=0.0, normalise=False
)
ROBUST_TRAINING = RecogniserTraining(
    epochs=14,
    batch_size=128,
    learning_rate=3e-3,
    weight_decay=1e-4,
    label_smoothing=0.0,
    warp=WarpSettings(rotation=4, zoom=0.04, shear=0.04, shift=0.02, elastic=0.0),
    keep="best",  # By the loss under PGD on held-out digits.
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(CharacterRun):
    """The experiment.

    Args:
        data: Set of characters.
        model: Shape of the robust recogniser: small, without batch normalisation.
        training: How it is trained.
        adversary: What disturbs its images.
        confidence: What its answers promise.
        against: Models (.keras files) that are measured beside it.
        attacked: Number of test characters to attack; 0 attacks all.
        epsilons: Strengths of the attacks, in pixels scaled to 0-1.
        steps: Steps of PGD.
        restarts: Random starts of PGD; a character counts as read only if it withstands all.
        letters: EMNIST's files, for handwritten letters among the out-of-distribution images.
        validation: Fraction of the training part that is held out.
        seed: Seed of everything random.
    """

    data: DataName = "digits"
    model: RecogniserConfig = ROBUST_MODEL
    training: RecogniserTraining = ROBUST_TRAINING
    adversary: Adversary = dataclasses.field(default_factory=Adversary)
    confidence: Confidence = dataclasses.field(default_factory=Confidence)
    against: tuple[Path, ...] = ()
    attacked: Count = 1000
    epsilons: Annotated[tuple[Epsilon, ...], MinLen(1), Distinct] = (0.1, 0.2, 0.3)
    steps: AtLeastOne = 40
    restarts: AtLeastOne = 1
    letters: Path | None = None
    validation: HeldOut = 1 / 12
    seed: Seed = 0


def get_config() -> Config:
    """The default: scikit-learn's digits."""
    return Config()


def experiment(config: Config) -> Path:
    """Trains the robust model, measures all, writes the report. Returns its path."""
    if importlib.util.find_spec("foolbox") is None:
        raise InputError("Attacks need Foolbox: pip install -e '.[attacks]'.")
    if config.letters is not None and not config.letters.exists():
        raise InputError(f"There is no {config.letters}; give EMNIST's files with --letters, or leave it out.")
    for path in config.against:
        if not path.is_file():
            raise InputError(f"There is no model {path}; train one with python -m experiments.digits_mnist.")
    characters = load_characters(config.data, config.path)
    parts = split_parts(characters, config.validation, config.limit)
    run = config.open("digits_robust", characters.fingerprint)

    from age_keras.characters.evaluation.robustness_report import write_robustness_report
    from age_keras.characters.model.saving import load_recogniser
    from age_keras.characters.robustness.measure import measure
    from age_keras.characters.training.adversarial import train_robust

    robust, history = train_robust(
        run, config.model, config.training, config.adversary, config.confidence, parts, config.seed
    )
    models = {"robust": robust}
    for path in config.against:
        models[f"{path.parent.parent.name}/{path.stem}"] = load_recogniser(path)
    results = {
        name: measure(
            model,
            parts["test"],
            attacked=config.attacked,
            epsilons=config.epsilons,
            steps=config.steps,
            restarts=config.restarts,
            letters=config.letters,
            seed=config.seed,
            name=name,
        )
        for name, model in models.items()
    }
    return write_robustness_report(run.path, parts["test"].name, results, history, config.steps, config.restarts)


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
