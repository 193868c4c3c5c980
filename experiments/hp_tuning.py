"""The basic search: dropout, learning rate and unfreeze ratio of five CNNs, by writer-disjoint cross-validation.

    python -m experiments.hp_tuning --data DIR

The study's notebook searched these three on a single split, and chose on the pages it reported. Here every trial is a
cross-validation, hopeless trials are cut after their first folds, and each backbone's choice is measured once on
writers that no trial saw; its report says how optimistic the search was. One search for each backbone, under
runs/hp_tuning/; re-run the command to resume. At most 100 trainings per backbone: hours on a GPU. Without one:
--backbones mobilenetv3_small --trials 5 --training.frozen.epochs 5 --training.fine-tune.epochs 2.
It runs in one process; `python -m tuning.search --backbones NAME --workers N` spreads the search of one backbone.
"""

import sys
from dataclasses import replace
from pathlib import Path

from age_keras.cli import run_experiment
from age_keras.files import atomic_write
from experiments.cross_validation import STUDY
from tuning.search import search
from tuning.search_config import SearchConfig


def get_config() -> SearchConfig:
    """Random search over the basic space, a search for each of the study's five CNNs."""
    return SearchConfig(backbones=STUDY, space="basic", oracle="random", trials=20)


def experiment(config: SearchConfig) -> Path:
    reports = []
    for backbone in config.backbones:
        one = replace(config, backbones=(backbone,))
        one = replace(one, run=f"{backbone}-{one.run_name}")
        print(f"{backbone}: runs in {one.runs / 'hp_tuning' / one.run_name}", file=sys.stderr)
        reports.append((backbone, search(one, "hp_tuning")))
    if len(reports) == 1:
        return reports[0][1]
    return _summary(config, reports)


def _summary(config: SearchConfig, reports: list[tuple[str, Path]]) -> Path:
    """One page with the verdict of each backbone."""
    lines = [f"# Searches of {len(reports)} backbones, each measured on writers that no trial saw"]
    for backbone, report in reports:
        verdict = report.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        lines.append(f"* [{backbone}]({report.parent.name}/report.md): {verdict}")
    path = config.runs / "hp_tuning" / f"{config.run_name}.md"
    with atomic_write(path) as file:
        file.write("\n\n".join(lines) + "\n")
    return path


if __name__ == "__main__":
    sys.exit(run_experiment(get_config, experiment))
