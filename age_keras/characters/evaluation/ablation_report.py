"""The report of `experiments/digits_ablation.py`: what each part of the recogniser adds, with intervals over seeds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.characters.evaluation.classification import mean_interval, paired_difference
from age_keras.characters.evaluation.figures import save_differences
from age_keras.files import atomic_write, write_json


def write_ablation_report(folder: Path, data: str, rows: Mapping[str, Mapping[int, dict]], epochs: int) -> Path:
    """Writes report.md, metrics.json, ablation.csv and figures/differences.png into a run's folder.

    Args:
        folder: the run's folder.
        data: name of the set.
        rows: variant to seed to `error` (share wrong on the test), `parameters`, `seconds` (wall, an epoch); the
            first variant is the whole model that the others are compared with, seed by seed.
        epochs: of each training.

    Returns:
        The report's path.
    """
    names = list(rows)
    seeds = sorted(rows[names[0]])
    errors = {name: np.array([100 * rows[name][s]["error"] for s in seeds]) for name in names}
    whole = errors[names[0]]
    table, certain = [], []
    for name in names:
        mean, low, high = mean_interval(errors[name])
        more, least, most = paired_difference(errors[name], whole)
        parameters = rows[name][seeds[0]]["parameters"]
        seconds = float(np.median([rows[name][s]["seconds"] for s in seeds]))
        table.append((name, parameters, mean, low, high, more, least, most, seconds))
        if name != names[0] and (least > 0 or most < 0):
            certain.append(f"{name} ({more:+.2f} points)")
    columns = [
        "Variant",
        "Parameters",
        "Error",
        "Low",
        "High",
        "Difference",
        "DifferenceLow",
        "DifferenceHigh",
        "Epoch",
    ]
    frame = pd.DataFrame(table, columns=columns)
    with atomic_write(folder / "ablation.csv") as file:
        frame.to_csv(file, index=False)
    write_json(folder / "metrics.json", {"data": data, "epochs": epochs, "seeds": seeds, "variants": rows})
    others = frame[1:]
    if len(others) and len(seeds) > 1:
        save_differences(
            folder / "figures" / "differences.png",
            others["Variant"],
            others[["Difference", "DifferenceLow", "DifferenceHigh"]].to_numpy(),
            "more wrong than the whole (percentage points), 95 %",
            f"What each part adds, {data}",
        )
    mean = table[0][2]
    verdict = "; ".join(certain) if certain else "none"
    text = [
        f"After {epochs} epochs on {data} the whole recogniser gets {mean:.2f} % wrong (mean of {len(seeds)} seeds); "
        f"variants whose difference from it is certain (95 %): {verdict}.",
        "",
        "# What each part adds",
        "",
        f"{len(seeds)} seeds each, the same for all variants; intervals are Student's t over seeds, differences are "
        "paired by seed. Short trainings favour what learns fast.",
        "",
        *(["![Differences](figures/differences.png)", ""] if (folder / "figures" / "differences.png").exists() else []),
        "| variant | parameters | wrong (%) | 95 % | against the whole (points) | 95 % | epoch (s) |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, parameters, mean, low, high, more, least, most, seconds in table:
        paired = ("–", "–") if name == names[0] else (f"{more:+.2f}", f"{least:+.2f} to {most:+.2f}")
        text.append(
            f"| {name} | {parameters:,} | {mean:.2f} | {low:.2f}–{high:.2f} | {paired[0]} | {paired[1]} | "
            f"{seconds:.1f} |"
        )
    with atomic_write(folder / "report.md") as file:
        file.write("\n".join([*text, ""]))
    return folder / "report.md"
