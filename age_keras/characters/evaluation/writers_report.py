"""The report of `experiments/digits_writers.py`: did a student or an employee write the digits?"""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from tabulate import tabulate

from age_keras.characters.evaluation.classification import accuracy
from age_keras.characters.evaluation.figures import save_histograms, save_lines
from age_keras.files import atomic_write, write_json

FEW = (1, 2, 5, 10, 20, 50)


def writer_scores(digits: pd.DataFrame) -> pd.DataFrame:
    """One row per writer: the mean log-odds of the digits.

    Args:
        digits: A table with the columns `Writer`, `Student` (truth, 0 or 1), `Score` (log-odds of "student").

    Returns:
        Columns `Writer`, `Student`, `Score`, `Digits` (how many).
    """
    groups = digits.groupby("Writer", sort=True)
    return groups.agg(Student=("Student", "first"), Score=("Score", "mean"), Digits=("Score", "size")).reset_index()


def bootstrap_auc(writers: pd.DataFrame, repeats: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the writers' AUC; writers are resampled within each group."""
    rng = np.random.default_rng(seed)
    student = writers["Student"].to_numpy(bool)
    scores = writers["Score"].to_numpy()
    found = []
    for _ in range(repeats):
        drawn = np.concatenate([rng.choice(np.flatnonzero(part), part.sum()) for part in (student, ~student)])
        found.append(roc_auc_score(student[drawn], scores[drawn]))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def auc_by_count(digits: pd.DataFrame, repeats: int = 20, seed: int = 0) -> dict[int, float]:
    """AUC per writer when only `FEW` random digits of each writer are seen, the mean of some repeats."""
    found = {}
    for count in FEW:
        values = []
        for repeat in range(repeats):
            some = digits.sample(frac=1, random_state=seed + repeat).groupby("Writer").head(count)
            writers = writer_scores(some)
            values.append(roc_auc_score(writers["Student"], writers["Score"]))
        found[count] = float(np.mean(values))
    return found


def best_cut(writers: pd.DataFrame) -> float:
    """The score above which to say "student", so that both groups are read right equally often on average.

    Args:
        writers: A table with the columns `Student` and `Score`, of writers unseen by the model that scored them.
    """
    truth, scores = writers["Student"].to_numpy(bool), writers["Score"].to_numpy()
    cuts = np.sort(scores)
    balanced = [((scores[truth] > c).mean() + (scores[~truth] <= c).mean()) / 2 for c in cuts]
    return float(cuts[int(np.argmax(balanced))])


def write_writers_report(
    folder: Path,
    digits: pd.DataFrame,
    training: pd.DataFrame,
    staged: tuple[np.ndarray, np.ndarray],
    history: list[dict],
    parameters: int,
) -> Path:
    """Writes report.md, metrics.json, history.csv and figures into a run's folder, with the scores behind them:
    predictions.csv (test digits), writers.csv (test writers) and training_writers.csv.

    Args:
        folder: The run's folder.
        digits: The test digits, a table with the columns `Row`, `Writer`, `Digit`, `Student`, `Score`.
        training: The training digits, each scored by a model that has not seen its writer; the same columns.
        staged: The log-odds that the second stage gives each test writer and each training writer (whom it had not
            seen), both in ascending order of the writers.
        history: One row per epoch of the models.
        parameters: Parameters of a model.

    Returns:
        The report's path.
    """
    writers, known = (
        writer_scores(frame).rename(columns={"Score": "MeanScore"}).assign(Score=scores)
        for frame, scores in zip((digits, training), staged, strict=True)
    )
    truth = writers["Student"].to_numpy(bool)
    auc = roc_auc_score(truth, writers["Score"])
    low, high = bootstrap_auc(writers)
    per_digit = roc_auc_score(digits["Student"], digits["Score"])
    by_mean = roc_auc_score(truth, writers["MeanScore"])
    known_by_mean = roc_auc_score(known["Student"], known["MeanScore"])
    cut = best_cut(known)
    said = writers["Score"].to_numpy() > cut
    right = accuracy(truth, said)
    balanced = float((said[truth].mean() + (~said[~truth]).mean()) / 2)
    held_out = roc_auc_score(known["Student"], known["Score"])
    counts = auc_by_count(digits)
    by_class = {int(k): roc_auc_score(g["Student"], g["Score"]) for k, g in digits.groupby("Digit")}
    students, employees = int(truth.sum()), int((~truth).sum())
    metrics = {
        "auc_per_writer": auc,
        "low": low,
        "high": high,
        "auc_per_digit": per_digit,
        "writers": {"students": students, "employees": employees},
        "auc_per_training_writer": held_out,
        "auc_of_mean_scores": {"test": by_mean, "training": known_by_mean},
        "cut": cut,
        "writers_right": right.value,
        "writers_right_balanced": balanced,
        "auc_by_digits_seen": counts,
        "auc_by_class": by_class,
        "parameters": parameters,
        "seconds": round(sum(r["seconds"] for r in history), 1),
    }
    write_json(folder / "metrics.json", metrics)
    for name, frame in (
        ("predictions", digits),
        ("writers", writers),
        ("training_writers", known),
        ("history", pd.DataFrame(history)),
    ):
        with atomic_write(folder / f"{name}.csv") as file:
            frame.to_csv(file, index=False)
    figures = folder / "figures"
    groups = {"students": writers["Score"][truth].to_numpy(), "employees": writers["Score"][~truth].to_numpy()}
    save_histograms(figures / "writers.png", groups, "log-odds of “student”", "Unseen writers")
    save_lines(
        figures / "digits_seen.png", list(counts), {"AUC": list(counts.values())}, "digits seen", "AUC", "More digits"
    )
    with atomic_write(folder / "report.md") as file:
        file.write(f"""\
Shown the digits of an unseen writer, the model tells students from employees with an AUC of {auc:.3f} \
({low:.3f}–{high:.3f}; {students} students, {employees} employees); from one digit {per_digit:.3f}.

# Students or employees

A writer's score is the log-odds of a second stage, which sees mean and spread of the network's scores and of the ink
over the writer's digits; the mean of the network's scores alone gives {by_mean:.3f}. With the threshold {cut:.2f},
chosen on the training writers, it is right for {right} of the writers ({100 * balanced:.1f} % when both groups count
alike). No writer is in both parts; the interval resamples writers. Among the training writers, each scored by a model
that has not seen them, the AUC is {held_out:.3f} ({len(known)} writers; by the mean alone {known_by_mean:.3f}).

The two groups wrote for different collections of NIST (SD-1 and SD-3): part of the signal may be how they were asked
and scanned, not how old they are.

![Writers](figures/writers.png)

{_row("digits seen of each writer", "AUC per writer, by the mean", counts)}

![More digits](figures/digits_seen.png)

{_row("class of the single digit", "AUC per digit", by_class)}
""")
    return folder / "report.md"


def _row(head: str, name: str, values: dict[int, float]) -> str:
    cells = [name, *(f"{v:.3f}" for v in values.values())]
    return tabulate([cells], [head, *map(str, values)], tablefmt="github", disable_numparse=True)
