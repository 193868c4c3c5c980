"""A search over configurations of the recogniser.

    python -m tuning.search_digits                                               # scikit-learn's digits, no file needed
    python -m tuning.search_digits --data mnist --path mnist.npz --limit 6000 --oracle hyperband --training.epochs 4

Like `tuning.search` for ages: every trial is a cross-validation, by writer where the writers are known; bad trials stop
after their first folds; the choice and the default are measured once on characters that no trial saw. Re-run the
command to resume a search. The report is in runs/search_digits/<run>.
"""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import tyro
from tyro.conf import Fixed, Suppress

from age_keras.characters.config import CharacterRun, DataName, HeldOut, RecogniserConfig, RecogniserTraining
from age_keras.characters.data.sources import load_characters
from age_keras.characters.data.splits import split_parts
from age_keras.cli import exit_code
from age_keras.config.serialization import to_dict
from age_keras.config.settings import Seed
from age_keras.errors import InputError
from tuning.search_config import SearchSettings


@dataclass(frozen=True, kw_only=True)
class DigitsSearchConfig(SearchSettings, CharacterRun):
    """A search over the recogniser's space (`tuning.spaces.recogniser`).

    Attributes:
        data: Set of characters: digits, mnist, emnist-balanced ..., folder, iam-words, iam-words-text ...
        writers: File that names the writer of each digit of MNIST.
        model: The recogniser, in what the space does not name; also the default that the choice is compared with.
        training: Its training, in what the space does not name; also that of the default.
        validation: Characters that are held out for watching the last two trainings: a number, or a fraction.
        space: What is searched.
        objective: What is minimised: the percentage of wrong answers.
        seed: Seed of folds, weights, order, augmentation and oracle.
    """

    data: DataName = "digits"
    writers: Path | None = None
    model: RecogniserConfig = field(default_factory=RecogniserConfig)
    training: RecogniserTraining = field(default_factory=RecogniserTraining)
    validation: HeldOut = 1 / 12
    space: Suppress[Fixed[Literal["recogniser"]]] = "recogniser"
    objective: Suppress[Fixed[Literal["error"]]] = "error"
    seed: Seed = 0


def search(config: DigitsSearchConfig) -> Path:
    """The whole search: trials, the measurement on the test part, the report. Returns the report's path."""
    from tuning.cluster.lock import only_search

    with only_search(config.runs / "search_digits" / config.run_name):
        return _search(config)


def _search(config: DigitsSearchConfig) -> Path:
    characters = load_characters(config.data, config.path, writers=config.writers)
    parts = split_parts(characters, config.validation, config.limit)

    from age_keras.run.folder import Run
    from tuning.characters.hypermodel import RecogniserHyperModel
    from tuning.tuner import allow_more_trials, run_trials, with_verdict

    allow_more_trials(config, "search_digits")
    settings = replace(config, runs=Path("runs"), run=None, fresh=False)
    run = Run.open(
        config.runs,
        "search_digits",
        settings,
        config.run_name,
        config.fresh,
        data_fingerprint=characters.fingerprint,
        characters=len(characters),
    )
    hypermodel = RecogniserHyperModel(run.path, config, parts["train"], config.model, config.training, config.seed)
    return with_verdict(
        run.path, lambda: run_trials(run.path, config, hypermodel), lambda: _finish(config, run, parts, hypermodel)
    )


def _finish(config: DigitsSearchConfig, run, parts: dict, hypermodel) -> Path:
    """Trains the choice and the default on all that the trials saw, and writes the report."""
    import keras_tuner

    from tuning.characters.outcome import write_outcome
    from tuning.report import write_search_report
    from tuning.tuner import report_before_an_error

    ranked = hypermodel.trials.ranked()
    if not ranked:
        report_before_an_error(run.path)
        raise InputError(f"No trial ran all of its folds, so there is nothing to choose: see {run.path / 'trials'}.")
    hp = keras_tuner.HyperParameters()
    hp.values = dict(ranked[0].parameters)
    model, training = hypermodel.space(hp)
    run.write_json("chosen.json", {"trial": ranked[0].trial, "model": to_dict(model), "training": to_dict(training)})
    configurations = {f"trial{ranked[0].trial}": (model, training), "default": (config.model, config.training)}
    write_outcome(run, configurations, parts, config.seed)
    run.write_json("outer.json", {"trial": ranked[0].trial})
    return write_search_report(run.path)


def main(argv: list[str] | None = None) -> int:
    """The command line."""

    def call() -> None:
        config = tyro.cli(DigitsSearchConfig, args=argv, prog="python -m tuning.search_digits", description=__doc__)
        report = search(config)
        print(f"\n{report.read_text(encoding='utf-8').splitlines()[0]}\nReport: {report}")

    return exit_code(call, "python -m tuning.search_digits")


if __name__ == "__main__":
    sys.exit(main())
