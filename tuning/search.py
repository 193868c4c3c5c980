"""A search over configurations of age models.

    python -m tuning.search --data DIR --space mission --oracle random --trials 20 --folds 5
    python -m tuning.search --data DIR --workers 4                            # chief and workers on this machine
    python -m tuning.search --data DIR --role chief --chief HOST:PORT         # on one machine, and on each other:
    python -m tuning.search --data DIR --role worker --chief HOST:PORT

Every trial is a cross-validation with writer-disjoint folds; bad ones are cut after their first folds; the choice is
measured once on writers that no trial saw. Killed at any moment, the same command goes on. The report, its figures and
TensorBoard's HParams are in runs/search/<run>; `python -m tuning.report runs/search/<run>` writes them again.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import tyro

from age_keras.cli import exit_code
from age_keras.config.serialization import to_dict
from age_keras.errors import InputError
from tuning.cluster.lock import only_search
from tuning.cross_validated import CrossValidated
from tuning.objective import OBJECTIVES
from tuning.oracles import make_oracle
from tuning.search_config import ClusterConfig, SearchConfig
from tuning.sweeps import total_folds
from tuning.trials import Trials
from tuning.watch import SearchBar

log = logging.getLogger("age_keras")


class StoppedSearchError(Exception):
    """A search that stopped because three trials in a row failed for the same cause."""


def trials_of(run: Path, config: SearchConfig) -> Trials:
    """The records of a search's run."""
    return Trials(run / "trials", OBJECTIVES[config.objective], config.folds)


def oracle_of(run: Path, config: SearchConfig, hypermodel: CrossValidated):
    """The oracle of a search, as it stands in the run's folder or fresh."""

    def failure(trial: str) -> tuple[str, str]:
        record = hypermodel.trials.read(trial)
        return (record.cause or "", record.reason or "") if record else ("unknown", "no record")

    return make_oracle(
        config.oracle,
        run / "oracle.json",
        hypermodel.declared(),
        hypermodel.objective.direction,
        config.trials,
        config.folds,
        config.seed,
        failure,
    )


def run_trials(run: Path, config: SearchConfig, hypermodel: CrossValidated, progress: bool = True) -> None:
    """Runs all trials in this process, or goes on with them.

    Raises:
        StoppedSearchError: three trials in a row failed for the same cause.
    """
    from tuning.tuner import CrossValidationTuner

    oracle = oracle_of(run, config, hypermodel)
    bar = SearchBar(hypermodel.trials, total_folds(oracle, config.folds), progress)
    hypermodel.on_event = bar.on_event
    try:
        tuner = CrossValidationTuner(oracle, hypermodel, run)
        hypermodel.ahead = oracle.ahead
        tuner.search()
    finally:
        bar.close()
    if oracle.stopped_because:
        raise StoppedSearchError(oracle.stopped_because)
    hypermodel.trials.keep_best(hypermodel.keep, over=True)


def open_search(config: SearchConfig, experiment: str):
    """Opens the pages and the run of a search.

    Returns:
        The study, the parts of its folds and the outer part.
    """
    from age_keras.training.study import open_study
    from tuning.parts import search_parts

    config = replace(config, run=config.run_name)
    allow_more_trials(config, experiment)
    study = open_study(config, experiment)
    return study, *search_parts(study, config.folds)


def hypermodel_of(config: SearchConfig, study, parts, worker: str = "tuner0") -> CrossValidated:
    """The hypermodel of a search."""
    from tuning.hypermodel import AgeHyperModel

    return AgeHyperModel(
        study,
        parts,
        config.space,
        trials=trials_of(study.run.path, config),
        objective=OBJECTIVES[config.objective],
        race_strength=0.0 if config.oracle == "hyperband" else config.race,
        keep=config.keep,
        worker=worker,
    )


def search(config: SearchConfig, experiment: str = "search") -> Path:
    """The whole search in this process: trials, the outer measurement, the report. Returns the report's path."""
    with only_search(config.runs / experiment / config.run_name):
        study, parts, outer = open_search(config, experiment)
        run, hypermodel = study.run.path, hypermodel_of(config, study, parts)
        return with_verdict(run, lambda: run_trials(run, config, hypermodel), lambda: finish(config, study, outer))


def with_verdict(run: Path, trials: Callable[[], None], end: Callable[[], Path | None]) -> Path | None:
    """Runs the trials, then the end; a stopped search leaves its report, and is an error that names the cause.

    Raises:
        InputError: the search stopped.
    """
    try:
        trials()
    except StoppedSearchError as stopped:
        report_before_an_error(run)
        raise InputError(
            f"The search stopped, since three trials in a row failed for the same cause: {stopped}. "
            f"Mend it and give the same command again; the trials are in {run / 'trials'}."
        ) from None
    return end()


def report_before_an_error(run: Path) -> None:
    """Writes the report of a search that ends with an error; what prevents it is logged, and never hides that error."""
    try:
        from tuning.report import write_search_report

        write_search_report(run)
    except Exception as error:  # Whatever it is, the error that follows matters more.
        said = " ".join(str(error).split())
        log.warning("The report in %s cannot be written: %s: %s", run, type(error).__name__, said)


def finish(config: SearchConfig, study, outer) -> Path:
    """Measures the choice on the outer writers and writes the report."""
    from tuning.measure import chosen_config, measure
    from tuning.report import write_search_report

    run, trials = study.run.path, trials_of(study.run.path, config)
    ranked = trials.ranked()
    if not ranked:
        report_before_an_error(run)
        raise InputError(f"No trial ran all of its folds, so there is nothing to choose: see {run / 'trials'}.")
    chosen = chosen_config(study.config, config.space, ranked[0])
    study.run.write_json("chosen.json", {"trial": ranked[0].trial, "config": to_dict(chosen)})
    measured = measure(study, outer, chosen, ranked[0].trial)
    measured.rows.to_csv(study.run.file("outer.csv"), index=False)
    study.run.write_json("outer.json", {"trial": ranked[0].trial, "constant": measured.constant})
    return write_search_report(run)


def allow_more_trials(config: SearchConfig, experiment: str) -> None:
    """A search may be made longer: the number of trials in its `config.json` follows the command."""
    from age_keras.run.folder import Run

    run = Run(config.runs / experiment / config.run_name)
    if (run.path / "config.json").exists() and not config.fresh:
        run.write_json("config.json", {**run.read_json("config.json"), "trials": config.trials})


def main(argv: list[str] | None = None) -> int:
    """The command line."""

    def call() -> int | None:
        config = tyro.cli(ClusterConfig, args=argv, prog="python -m tuning.search", description=__doc__)
        if config.workers or config.role != "alone":
            from tuning.cluster.roles import run_cluster

            return run_cluster(config, sys.argv[1:] if argv is None else argv)
        report = search(config.search)
        print(f"\n{report.read_text(encoding='utf-8').splitlines()[0]}\nReport: {report}")
        return None

    return exit_code(call, "python -m tuning.search")


if __name__ == "__main__":
    sys.exit(main())
