"""The report of a search.

    python -m tuning.report runs/search/<run>

Writes report.md, trials.csv, figures/ and tensorboard/ of a search from the records in its folder, whether the search
has ended or not.
"""

import sys
from pathlib import Path

import pandas as pd
import tyro

from age_keras.cli import exit_code
from age_keras.errors import InputError
from age_keras.files import atomic_write
from age_keras.run.folder import Run
from tuning.characters.outcome import outcome_lines
from tuning.objective import OBJECTIVES, age_scores, selection_bias
from tuning.outcome import Measured, difference
from tuning.trials import COMPLETE, CUT, FAILED, RUNNING, TrialRecord, Trials

SHOWN = 10


def write_search_report(run: Path, board: bool = True) -> Path:
    """Writes everything that is to be seen of a search.

    Args:
        run: its folder.
        board: write TensorBoard's logs too.

    Returns:
        The path of `report.md`.

    Raises:
        InputError: the folder holds no search.
    """
    run = Path(run)
    config = Run(run).read_json("config.json")
    if "space" not in config or not (run / "trials").is_dir():
        raise InputError(f"{run} is not the folder of a search: it has no trials. Give runs/search/<run>.")
    trials = Trials(run / "trials", OBJECTIVES[config["objective"]], config["folds"])
    if not trials.all():
        raise InputError(f"{run} has no trial yet.")
    trials.write_table(run / "trials.csv")
    from tuning.figures import draw_figures

    figures = draw_figures(run / "figures", trials)
    if board:
        from tuning.tensorboard import write_board

        write_board(run / "tensorboard" / "trials", trials)
    text = "\n\n".join(
        [*_verdict(run, config, trials), *_table(trials), *_pictures(figures), *_how(run, config, trials)]
    )
    with atomic_write(run / "report.md") as file:
        file.write(text + "\n")
    return run / "report.md"


def _verdict(run: Path, config: dict, trials: Trials) -> list[str]:
    objective, ranked = trials.objective, trials.ranked()
    if not ranked:
        return ["# No trial has run all of its folds yet", *_stopped(run), "There is nothing to choose."]
    best = ranked[0]
    found = (
        f"Trial {best.trial} was chosen: {objective.label} {best.objective:.3f} ± {best.sd:.3f} over {trials.folds} "
        f"folds. {_values(best)}"
    )
    bias = selection_bias(best.column(objective.name), [r.column(objective.name) for r in ranked], objective.sign)
    flattery = (
        f"Its mean is optimistic, since it is the best of {len(ranked)} trials: by about {bias:.3f}, as estimated "
        "from the folds (Tibshirani and Tibshirani 2009)."
    )
    if not (run / "outer.csv").exists():
        stopped = _stopped(run)
        title = "# The search has stopped" if stopped else "# The search has not finished"
        return [title, *stopped, found, flattery, "The choice has not been measured on unseen writers yet."]
    facts = Run(run).read_json("outer.json")
    if config["space"] == "recogniser":
        return [*outcome_lines(run, config, trials, facts["trial"], best), found, flattery]
    measured = Measured(pd.read_csv(run / "outer.csv", dtype={"Writer": str}), facts["constant"])
    return [*_outer(measured, config, trials, facts["trial"], best), found, flattery]


def _stopped(run: Path) -> list[str]:
    """Why a search stopped before its end: a sentence, or none."""
    why = Run(run).read_json("oracle.json").get("stopped_because") if (run / "oracle.json").exists() else None
    return [f"It stopped because three trials in a row failed with the same cause: {why}."] if why else []


def _outer(measured: Measured, config: dict, trials: Trials, measured_trial: str, best: TrialRecord) -> list[str]:
    rows, objective = measured.rows, trials.objective
    scores = {
        name: age_scores(rows["TrueAge"], rows[name], measured.constant, config["bands"])
        for name in ("chosen", "default")
    }
    baseline = float((rows["TrueAge"] - measured.constant).abs().mean())
    gain, low, high = difference(measured, config["seed"])
    chosen, default = scores["chosen"]["mae"], scores["default"]["mae"]
    verdict = "beats the default" if low > 0 else "does not beat the default"
    if low <= 0 < round(gain, 2):
        verdict = "is better than the default, but not beyond chance"
    title = f"The chosen configuration {verdict}: MAE {chosen:.2f} against {default:.2f} years"
    searched, outer = best.score, scores["chosen"][objective.name]
    worse = objective.sign * (outer - searched)
    lines = [
        f"# {title}, on writers that no trial saw",
        f"On {rows['Writer'].nunique()} writers ({len(rows)} pages) that no trial saw, each measured once, after the "
        f"search: the choice gains {gain:+.2f} years on the default (95 % interval over writers {low:+.2f} to "
        f"{high:+.2f}). Answering {measured.constant:.1f} for every page has an MAE of {baseline:.2f}.",
        "| | MAE (years) | skill | mean of bands' MAE (years) |\n|---|---|---|---|\n"
        + "\n".join(
            f"| {name} | {s['mae']:.2f} | {s['skill']:+.3f} | {s['band_mae']:.2f} |" for name, s in scores.items()
        ),
        f"**How optimistic the search was.** In the search, {objective.label} was {searched:.3f}; on unseen writers "
        f"it is {outer:.3f}: {'worse' if worse > 0 else 'better'} by {abs(worse):.3f}.",
    ]
    if measured_trial != best.trial:
        lines.append(
            f"The outer measurement is of trial {measured_trial}: run the search again to measure the new best."
        )
    return lines


def _table(trials: Trials) -> list[str]:
    records = trials.all()
    counts = {status: sum(r.status == status for r in records) for status in (COMPLETE, CUT, FAILED, RUNNING)}
    ranked = trials.ranked()[:SHOWN]
    names = list(dict.fromkeys(name for record in ranked for name in record.parameters))
    rows = [
        f"| {r.trial} | {r.objective:.3f} ± {r.sd:.3f} | "
        + " | ".join(_short(r.parameters.get(n)) for n in names)
        + " |"
        for r in ranked
    ]
    head = f"| trial | {trials.objective.label} | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 2)
    failed = [f"* trial {r.trial}: {r.reason}" for r in records if r.status == FAILED]
    spent = sum(record.seconds for record in records)
    return [
        "## Trials",
        f"{len(records)} trials: {', '.join(f'{n} {status}' for status, n in counts.items() if n)}; "
        f"{sum(len(r.folds) for r in records)} folds, {spent / 60:.1f} minutes of training. All are in trials.csv.",
        head + "\n" + "\n".join(rows),
        *(["Failed:\n\n" + "\n".join(failed)] if failed else []),
    ]


def _pictures(figures: dict[str, Path]) -> list[str]:
    return [f"![{name.replace('_', ' ')}](figures/{path.name})" for name, path in figures.items()]


def _how(run: Path, config: dict, trials: Trials) -> list[str]:
    cut = (
        "Hyperband gives a trial the first folds, and more if it is promising"
        if config["oracle"] == "hyperband"
        else (
            f"a trial is cut after a fold when it is further behind the best whole trial, on the same folds, than "
            f"{config['race']:g} standard error{'' if config['race'] == 1 else 's'}"
            if config["race"]
            else "no trial is cut"
        )
    )
    folds = (
        "folds, disjoint by writer where the writers are known"
        if config["space"] == "recogniser"
        else "folds disjoint by writer; the epoch is chosen inside each training part"
    )
    return [
        "## How it was made",
        f"Space `{config['space']}`, oracle `{config['oracle']}`, seed {config['seed']}, {trials.folds} {folds}; {cut}."
        " `config.json` has the rest; `tensorboard --logdir tensorboard/trials` shows parameters, folds and curves.",
    ]


def _values(record: TrialRecord) -> str:
    return "; ".join(f"{name} {_short(value)}" for name, value in record.parameters.items()) + "."


def _short(value) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def main(argv: list[str] | None = None) -> int:
    """The command line."""

    def call(folder: tyro.conf.Positional[Path]) -> None:
        """Writes the report of a search again.

        Args:
            folder: runs/search/<run>.
        """
        path = write_search_report(folder)
        print(f"{path.read_text(encoding='utf-8').splitlines()[0]}\nReport: {path}")

    return exit_code(lambda: tyro.cli(call, args=argv, prog="python -m tuning.report"), "python -m tuning.report")


if __name__ == "__main__":
    sys.exit(main())
