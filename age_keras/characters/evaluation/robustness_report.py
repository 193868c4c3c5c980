"""The report of `experiments/digits_robust.py`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.characters.evaluation.figures import save_lines
from age_keras.files import atomic_write, write_json


def write_robustness_report(
    folder: Path, data: str, results: Mapping[str, dict], history: list[dict], steps: int, restarts: int
) -> Path:
    """Writes report.md, metrics.json, history.csv and figures into a run's folder.

    Args:
        folder: the run's folder.
        data: name of the set.
        results: model to what `age_keras.characters.training.robust.measure` gave; the first is the robust one.
        history: the robust model's epochs.
        steps: of PGD.
        restarts: of PGD.

    Returns:
        The report's path.
    """
    write_json(folder / "metrics.json", {"data": data, "steps": steps, "restarts": restarts, "models": results})
    with atomic_write(folder / "history.csv") as file:
        pd.DataFrame(history).to_csv(file, index=False)
    names = list(results)
    first = results[names[0]]
    strongest = max(first["attacks"]["pgd"], key=float)
    held = first["attacks"]["pgd"][strongest]
    columns = [f"{attack} {epsilon}" for attack, row in first["attacks"].items() for epsilon in row]
    text = [
        f"The {names[0]} model reads {100 * first['clean']:.2f} % of {first['test']:,} clean test images of {data} and "
        f"{100 * held:.2f} % of {first['attacked']:,} attacked by PGD (epsilon {strongest}, {steps} steps, "
        f"{restarts} random start{'s' if restarts > 1 else ''}, L∞, Foolbox).",
        "",
        f"# Robustness on {data}",
        "",
        "## Under attack",
        "",
        "Share read right although every pixel may move by epsilon (of 0-1).",
        "",
        "| model | parameters | clean | "
        + " | ".join(f"{a} {e}" for a, r in first["attacks"].items() for e in r)
        + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for name, r in results.items():
        cells = [_percent(v) for attack in r["attacks"].values() for v in attack.values()]
        text.append(f"| {name} | {r['parameters']:,} | {_percent(r['clean'])} | " + " | ".join(cells) + " |")
    text += ["", "## Under corruptions", "", _corruptions(results), ""]
    for key, label, unit in (("rotation", "Rotation", "degrees"), ("shift", "Shift", "pixels")):
        x = [float(v) for v in first[key]]
        lines = {name: [100 * v for v in r[key].values()] for name, r in results.items()}
        save_lines(folder / "figures" / f"{key}.png", x, lines, f"{label.lower()} ({unit})", "right (%)", label)
        text += [f"![{label}](figures/{key}.png)", ""]
    text += [
        "## On strangers",
        "",
        "Images that are no digits; AUROC: a digit gets more confidence than a stranger.",
        "",
    ]
    text += ["| model | images | mean confidence | unsure | AUROC |", "|---|---|---|---|---|"]
    for name, r in results.items():
        for group, row in r["strangers"].items():
            auroc = f"{row['auroc']:.3f}" if "auroc" in row else ""
            text.append(f"| {name} | {group} | {_percent(row['confidence'])} | {_percent(row['unsure'])} | {auroc} |")
    with atomic_write(folder / "report.md") as file:
        file.write("\n".join([*text, ""]))
    return folder / "report.md"


def _corruptions(results: Mapping[str, dict]) -> str:
    first = next(iter(results.values()))["corruptions"]
    severities = list(next(iter(first.values())))
    head = " | ".join(f"{name}, {s}" for name in results for s in severities)
    rows = [f"| corruption | {head} |", "|---" * (1 + len(results) * len(severities)) + "|"]
    for corruption in first:
        cells = [_percent(r["corruptions"][corruption][s]) for r in results.values() for s in severities]
        rows.append(f"| {corruption.replace('_', ' ')} | " + " | ".join(cells) + " |")
    means = [np.mean([c[s] for c in r["corruptions"].values()]) for r in results.values() for s in severities]
    rows.append("| **mean** | " + " | ".join(_percent(m) for m in means) + " |")
    return "\n".join(rows)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
