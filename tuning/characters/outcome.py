"""The end of a recogniser's search: its choice and the default, each trained once, on characters that no trial saw."""

from pathlib import Path

import numpy as np
import pandas as pd

from age_keras.characters.data.characters import Characters
from age_keras.files import atomic_write
from age_keras.run.folder import Run
from tuning.outcome import interval
from tuning.trials import TrialRecord, Trials


def write_outcome(run: Run, configurations: dict[str, tuple], parts: dict[str, Characters], seed: int) -> None:
    """Trains each configuration, or resumes it, and writes their answers to the test part into `outer.csv`.

    Args:
        run: The search's folder.
        configurations: The choice's model and training under its name, then the default's.
        parts: "train", "validation" (watches) and "test".
        seed: Seed of weights, order and augmentation.
    """
    from age_keras.characters.model.recogniser import predict_probabilities
    from age_keras.characters.model.saving import save_recogniser
    from age_keras.characters.training.train_seed import train_fresh

    test = parts["test"]
    rows = pd.DataFrame({"Row": np.arange(len(test)), "Truth": test.labels})
    rows["Writer"] = rows["Row"] if test.writers is None else test.writers
    for column, (name, (shape, training)) in zip(("chosen", "default"), configurations.items(), strict=True):
        model, _ = train_fresh(shape, training, parts["train"], parts["validation"], seed, name, run)
        save_recogniser(run.file("checkpoints", f"{name}.keras"), model, test.name)
        rows[column] = predict_probabilities(model, test.images).argmax(axis=1)
    with atomic_write(run.file("outer.csv")) as file:
        rows.to_csv(file, index=False)


def outcome_lines(run: Path, config: dict, trials: Trials, measured_trial: str, best: TrialRecord) -> list[str]:
    """The report's verdict: whether the choice beats the default, and how optimistic the search was."""
    rows = pd.read_csv(run / "outer.csv")
    wrong = {name: 100 * (rows[name] != rows["Truth"]).astype(float) for name in ("chosen", "default")}
    chosen, default = (float(wrong[name].mean()) for name in ("chosen", "default"))
    gain, low, high = interval(wrong["default"] - wrong["chosen"], rows["Writer"], config["seed"])
    verdict = "beats the default" if low > 0 else "does not beat the default"
    if low <= 0 < round(gain, 2):
        verdict = "is better than the default, but not beyond chance"
    writers = rows["Writer"].nunique()
    by = f"{writers} writers" if writers < len(rows) else "characters"
    worse = chosen - best.score
    lines = [
        f"# The chosen configuration {verdict}: {chosen:.2f} % wrong against {default:.2f} %, on characters that no "
        "trial saw",
        f"On {len(rows)} characters of the test part, each read once, after the search: the choice gains {gain:+.2f} "
        f"percentage points on the default (95 % interval over {by} {low:+.2f} to {high:+.2f}).",
        f"**How optimistic the search was.** It promised {best.score:.2f} % wrong; on new characters it is "
        f"{chosen:.2f} %: {'worse' if worse > 0 else 'better'} by {abs(worse):.2f}. (The last training has more data "
        "than the folds had.)",
    ]
    if measured_trial != best.trial:
        lines.append(f"The measurement is of trial {measured_trial}: run the search again to measure the new best.")
    return lines
