"""A search over configurations of age models.

    python -m tuning.search --data DIR --space basic --oracle random --trials 20 --folds 5
    python -m tuning.search --data DIR --workers 4                            # chief and workers on this machine
    python -m tuning.search --data DIR --role chief --chief HOST:PORT         # on one machine, and on each other:
    python -m tuning.search --data DIR --role worker --chief HOST:PORT

Every trial is a cross-validation with writer-disjoint folds; bad ones are cut after their first folds; the choice is
measured once on unseen writers. Re-run the command to resume an interrupted search. The report, its figures and
TensorBoard's HParams are in runs/search/<run>; `python -m tuning.report runs/search/<run>` writes them again.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from age_keras.cli import exit_code
from age_keras.config.serialization import to_dict
from age_keras.errors import InputError
from age_keras.training.request import check_labels, check_request
from tuning.search_config import ClusterConfig, SearchConfig

if TYPE_CHECKING:
    from age_keras.training.protocol import Part
    from age_keras.training.study import Study


def search(config: SearchConfig, experiment: str = "search") -> Path:
    """The whole search in this process: trials, the outer measurement, the report. Returns the report's path."""
    from tuning.cluster.lock import only_search
    from tuning.hypermodel import AgeHyperModel
    from tuning.tuner import run_trials, with_verdict

    with only_search(config.runs / experiment / config.run_name):
        study, parts, outer = open_search(config, experiment)
        run, hypermodel = study.run.path, AgeHyperModel(study, parts)
        return with_verdict(run, lambda: run_trials(run, config, hypermodel), lambda: finish(config, study, outer))


def open_search(config: SearchConfig, experiment: str) -> "tuple[Study[SearchConfig], list[Part], Part]":
    """Opens the pages and the run of a search.

    Returns:
        The study, the parts of its folds and the outer part.
    """
    from age_keras.training.study import open_study
    from tuning.hypermodel import search_parts
    from tuning.tuner import allow_more_trials

    config = replace(config, run=config.run_name)
    allow_more_trials(config, experiment)
    study = open_study(config, experiment)
    return study, *search_parts(study, config.folds)


def finish(config: SearchConfig, study: "Study[SearchConfig]", outer: "Part") -> Path:
    """Measures the choice on the outer writers and writes the report."""
    from tuning.measure import chosen_config, measure
    from tuning.report import write_search_report
    from tuning.trials import trials_of
    from tuning.tuner import report_before_an_error

    run, trials = study.run.path, trials_of(study.run.path, config)
    ranked = trials.ranked()
    if not ranked:
        report_before_an_error(run)
        raise InputError(f"No trial ran all of its folds, so there is nothing to choose: see {run / 'trials'}.")
    chosen = chosen_config(study.config, ranked[0])
    study.run.write_json("chosen.json", {"trial": ranked[0].trial, "config": to_dict(chosen)})
    measured = measure(study, outer, chosen, ranked[0].trial)
    measured.rows.to_csv(study.run.file("outer.csv"), index=False)
    study.run.write_json("outer.json", {"trial": ranked[0].trial, "constant": measured.constant})
    return write_search_report(run)


def cluster_roles(config: ClusterConfig) -> tuple[Callable, Callable[[], Path]]:
    """What a process of a search over several does: `run_cluster` says when.

    Returns:
        A function from a worker's name to the run's folder and a hypermodel, and one that ends the search.
    """
    from tuning.hypermodel import AgeHyperModel

    # Only the chief starts over: a worker would delete what it has just made.
    plain = config.search if config.role == "chief" else replace(config.search, fresh=False)
    study, parts, outer = open_search(plain, "search")
    return lambda worker: (study.run.path, AgeHyperModel(study, parts, worker)), lambda: finish(plain, study, outer)


def main(argv: list[str] | None = None) -> int:
    """The command line."""

    def call() -> int:
        config = tyro.cli(ClusterConfig, args=argv, prog="python -m tuning.search", description=__doc__)
        check_request(config)
        check_labels(config)
        if not config.workers and config.role == "alone":
            print_verdict(search(config.search))
            return 0
        from tuning.cluster.roles import run_cluster

        command = [sys.executable, "-m", "tuning.search", *(sys.argv[1:] if argv is None else argv)]
        run = config.runs / "search" / config.run_name
        return run_cluster(config, command, run, lambda: cluster_roles(config), print_verdict)

    return exit_code(call, "python -m tuning.search")


def print_verdict(report: Path) -> None:
    """Prints the first line of a report, and where it is."""
    print(f"\n{report.read_text(encoding='utf-8').splitlines()[0]}\nReport: {report}")


if __name__ == "__main__":
    sys.exit(main())
