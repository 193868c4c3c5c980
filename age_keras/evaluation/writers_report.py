"""The report of `experiments/digits_writers.py`: who wrote it, a student or an employee?"""

from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.evaluation.classification import accuracy, roc_auc
from age_keras.evaluation.digits_figures import save_histograms, save_lines
from age_keras.files import atomic_write, write_json

FEW = (1, 2, 5, 10, 20, 50)


def writer_scores(digits: pd.DataFrame) -> pd.DataFrame:
    """One row per writer: the mean log-odds of the digits.

    Args:
        digits: columns `Writer`, `Student` (truth, 0 or 1), `Score` (log-odds of "student").

    Returns:
        Columns `Writer`, `Student`, `Score`, `Digits` (how many).
    """
    groups = digits.groupby("Writer", sort=True)
    return groups.agg(Student=("Student", "first"), Score=("Score", "mean"), Digits=("Score", "size")).reset_index()


def bootstrap_auc(writers: pd.DataFrame, repeats: int = 2000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the writers' AUC: writers drawn anew within each group."""
    rng = np.random.default_rng(seed)
    student = writers["Student"].to_numpy(bool)
    scores = writers["Score"].to_numpy()
    found = []
    for _ in range(repeats):
        a, b = (rng.choice(scores[part], part.sum()) for part in (student, ~student))
        found.append(roc_auc(np.repeat([True, False], [len(a), len(b)]), np.concatenate([a, b])))
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def auc_by_count(digits: pd.DataFrame, repeats: int = 20, seed: int = 0) -> dict[int, float]:
    """AUC per writer when only so many random digits of each writer are seen, the mean of some repeats."""
    found = {}
    for count in FEW:
        values = []
        for repeat in range(repeats):
            some = digits.sample(frac=1, random_state=seed + repeat).groupby("Writer").head(count)
            writers = writer_scores(some)
            values.append(roc_auc(writers["Student"].to_numpy(bool), writers["Score"].to_numpy()))
        found[count] = float(np.mean(values))
    return found


def write_writers_report(folder: Path, digits: pd.DataFrame, history: list[dict], parameters: int) -> Path:
    """Writes report.md, metrics.json, predictions.csv, writers.csv, history.csv and figures into a run's folder.

    Args:
        folder: the run's folder.
        digits: the test digits: columns `Row`, `Writer`, `Digit`, `Student`, `Score`.
        history: the model's epochs.
        parameters: of the model.

    Returns:
        The report's path.
    """
    writers = writer_scores(digits)
    truth = writers["Student"].to_numpy(bool)
    auc = roc_auc(truth, writers["Score"].to_numpy())
    low, high = bootstrap_auc(writers)
    per_digit = roc_auc(digits["Student"].to_numpy(bool), digits["Score"].to_numpy())
    right = accuracy(truth, writers["Score"].to_numpy() > 0)
    counts = auc_by_count(digits)
    by_class = {int(k): roc_auc(g["Student"].to_numpy(bool), g["Score"].to_numpy()) for k, g in digits.groupby("Digit")}
    students, employees = int(truth.sum()), int((~truth).sum())
    metrics = {
        "auc_per_writer": auc,
        "low": low,
        "high": high,
        "auc_per_digit": per_digit,
        "writers": {"students": students, "employees": employees},
        "writers_right": right.value,
        "auc_by_digits_seen": counts,
        "auc_by_class": by_class,
        "parameters": parameters,
        "seconds": round(sum(r["seconds"] for r in history), 1),
    }
    write_json(folder / "metrics.json", metrics)
    for name, frame in (("predictions", digits), ("writers", writers), ("history", pd.DataFrame(history))):
        with atomic_write(folder / f"{name}.csv") as file:
            frame.to_csv(file, index=False)
    figures = folder / "figures"
    groups = {"students": writers["Score"][truth].to_numpy(), "employees": writers["Score"][~truth].to_numpy()}
    save_histograms(figures / "writers.png", groups, "mean log-odds of “student”", "Unseen writers")
    save_lines(
        figures / "digits_seen.png", list(counts), {"AUC": list(counts.values())}, "digits seen", "AUC", "More digits"
    )
    text = [
        f"Shown the digits of a writer it has never seen, the model tells students from employees with an AUC of "
        f"{auc:.3f} ({low:.3f}–{high:.3f}; {students} students, {employees} employees); from one digit "
        f"{per_digit:.3f}.",
        "",
        "# Students or employees",
        "",
        f"A writer's score is the mean log-odds of their digits. Its sign is right for {right} of the writers. No "
        "writer is in both parts; the interval draws writers anew.",
        "",
        "The two groups wrote for different collections of NIST (SD-1 and SD-3): part of the signal may be how they "
        "were asked and scanned, not how old they are.",
        "",
        "![Writers](figures/writers.png)",
        "",
        "| digits seen of each writer | " + " | ".join(map(str, counts)) + " |",
        "|---" * (1 + len(counts)) + "|",
        "| AUC per writer | " + " | ".join(f"{v:.3f}" for v in counts.values()) + " |",
        "",
        "![More digits](figures/digits_seen.png)",
        "",
        "| class of the single digit | " + " | ".join(map(str, by_class)) + " |",
        "|---" * (1 + len(by_class)) + "|",
        "| AUC per digit | " + " | ".join(f"{v:.3f}" for v in by_class.values()) + " |",
        "",
    ]
    with atomic_write(folder / "report.md") as file:
        file.write("\n".join(text))
    return folder / "report.md"
