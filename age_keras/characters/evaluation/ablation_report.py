"""The report of `experiments/digits_ablation.py`: what each part of the recogniser adds, with intervals over seeds."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from age_keras.characters.evaluation.classification import mean_interval
from age_keras.characters.evaluation.figures import save_differences
from age_keras.files import atomic_write, write_json

DIFFERENCE = ("Difference", "DifferenceLow", "DifferenceHigh")


def write_ablation_report(folder: Path, data: str, rows: Mapping[str, Mapping[int, dict]], epochs: int) -> Path:
    """Writes report.md, metrics.json, ablation.csv and figures/differences.png into a run's folder.

    Args:
        folder: The run's folder.
        data: Name of the set of characters.
        rows: Variant to seed to `error` (fraction of the test that is wrong), `parameters` and `seconds` (wall, per
            epoch). The first variant is the whole model that the others are compared with, seed by seed.
        epochs: Epochs of each training.

    Returns:
        The report's path.
    """
    whole, *others = rows
    seeds = sorted(rows[whole])
    errors = {name: np.array([100 * rows[name][s]["error"] for s in seeds]) for name in rows}
    frame = pd.DataFrame(
        [
            (
                name,
                rows[name][seeds[0]]["parameters"],
                *mean_interval(errors[name]),
                *mean_interval(errors[name] - errors[whole]),
                float(np.median([rows[name][s]["seconds"] for s in seeds])),
            )
            for name in rows
        ],
        columns=["Variant", "Parameters", "Error", "Low", "High", *DIFFERENCE, "Epoch"],
    )
    with atomic_write(folder / "ablation.csv") as file:
        frame.to_csv(file, index=False)
    write_json(folder / "metrics.json", {"data": data, "epochs": epochs, "seeds": seeds, "variants": rows})
    drawn = bool(others) and len(seeds) > 1
    if drawn:
        save_differences(
            folder / "figures" / "differences.png",
            others,
            frame[1:][list(DIFFERENCE)].to_numpy(),
            "difference in error from the whole model (percentage points), 95 %",
            f"What each part adds, {data}",
        )
    certain = [
        f"{r.Variant} ({r.Difference:+.2f} points)"
        for r in frame[1:].itertuples()
        if r.DifferenceLow > 0 or r.DifferenceHigh < 0
    ]
    table = [
        [
            r.Variant,
            f"{r.Parameters:,}",
            f"{r.Error:.2f}",
            f"{r.Low:.2f}–{r.High:.2f}",
            *(
                ["–", "–"]
                if r.Variant == whole
                else [f"{r.Difference:+.2f}", f"{r.DifferenceLow:+.2f} to {r.DifferenceHigh:+.2f}"]
            ),
            f"{r.Epoch:.1f}",
        ]
        for r in frame.itertuples()
    ]
    head = ["variant", "parameters", "wrong (%)", "95 %", "against the whole (points)", "95 %", "epoch (s)"]
    with atomic_write(folder / "report.md") as file:
        file.write(f"""\
After {epochs} epochs on {data} the whole recogniser gets {frame["Error"][0]:.2f} % wrong (mean of {len(seeds)} \
seeds); variants whose difference from it is significant (95 %): {"; ".join(certain) or "none"}.

# What each part adds

{len(seeds)} seeds each, the same for all variants. Intervals are Student's t over seeds; differences are paired by
seed. Short trainings favour what learns fast.

{"![Differences](figures/differences.png)" if drawn else ""}

{tabulate(table, head, tablefmt="github", disable_numparse=True)}
""")
    return folder / "report.md"
