"""The report of `experiments/digits_robust.py`."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from age_keras.characters.evaluation.figures import save_lines
from age_keras.files import atomic_write, write_json


def write_robustness_report(
    folder: Path, data: str, results: Mapping[str, dict], history: list[dict], steps: int, restarts: int
) -> Path:
    """Writes report.md, metrics.json, history.csv and figures into a run's folder.

    Args:
        folder: The run's folder.
        data: Name of the set of characters.
        results: Model to what `age_keras.characters.robustness.measure.measure` gave; the first is the robust one.
        history: One row per epoch of the robust model.
        steps: Steps of PGD.
        restarts: Random starts of PGD.

    Returns:
        The report's path.
    """
    write_json(folder / "metrics.json", {"data": data, "steps": steps, "restarts": restarts, "models": results})
    with atomic_write(folder / "history.csv") as file:
        pd.DataFrame(history).to_csv(file, index=False)
    robust, first = next(iter(results.items()))
    strongest = max(first["attacks"]["pgd"], key=float)
    for key, unit in (("rotation", "degrees"), ("shift", "pixels")):
        lines = {name: [100 * v for v in r[key].values()] for name, r in results.items()}
        x = [float(v) for v in first[key]]
        save_lines(folder / "figures" / f"{key}.png", x, lines, f"{key} ({unit})", "right (%)", key.capitalize())
    with atomic_write(folder / "report.md") as file:
        file.write(f"""\
The {robust} model reads {100 * first["clean"]:.2f} % of {first["test"]:,} clean test images of {data} and \
{100 * first["attacks"]["pgd"][strongest]:.2f} % of {first["attacked"]:,} attacked by PGD (epsilon {strongest}, \
{steps} steps, {restarts} random start{"s" if restarts > 1 else ""}, L∞, Foolbox).

# Robustness on {data}

## Under attack

Accuracy when every pixel may move by epsilon (of 0-1).

{_attacks(results)}

## Under corruptions

{_corruptions(results)}

![Rotation](figures/rotation.png)

![Shift](figures/shift.png)

## Out-of-distribution inputs

Images that show no digit. AUROC is the probability that a digit gets more confidence than such an image.

{_out_of_distribution(results)}
""")
    return folder / "report.md"


def _attacks(results: Mapping[str, dict]) -> str:
    attacks = next(iter(results.values()))["attacks"]
    head = ["model", "parameters", "clean", *(f"{attack} {e}" for attack, row in attacks.items() for e in row)]
    return _table(
        head,
        [
            [name, f"{r['parameters']:,}", _percent(r["clean"])]
            + [_percent(v) for row in r["attacks"].values() for v in row.values()]
            for name, r in results.items()
        ],
    )


def _corruptions(results: Mapping[str, dict]) -> str:
    found = {name: pd.DataFrame(r["corruptions"]) for name, r in results.items()}  # Severity by corruption.
    table = pd.concat(found, axis=0).T
    table.loc["**mean**"] = table.mean()
    head = ["corruption", *(f"{name}, {severity}" for name, severity in table)]
    return _table(
        head, [[c.replace("_", " "), *map(_percent, row)] for c, row in zip(table.index, table.to_numpy(), strict=True)]
    )


def _out_of_distribution(results: Mapping[str, dict]) -> str:
    rows = [
        [name, images, _percent(r["confidence"]), _percent(r["unsure"]), f"{r['auroc']:.3f}" if "auroc" in r else ""]
        for name, result in results.items()
        for images, r in result["out_of_distribution"].items()
    ]
    return _table(["model", "images", "mean confidence", "unsure", "AUROC"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
