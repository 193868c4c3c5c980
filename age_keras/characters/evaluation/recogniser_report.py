"""The report of a recogniser's seeds: the verdict first, then figures, calibration, sets and the hardest characters."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix
from tabulate import tabulate

from age_keras.characters import calibration
from age_keras.characters.config import Confidence
from age_keras.characters.evaluation import figures as digits_figures
from age_keras.characters.evaluation.classification import accuracy, hardest, mean_interval
from age_keras.files import atomic_write, write_json

if TYPE_CHECKING:
    from age_keras.characters.data.characters import Characters


def write_recogniser_report(
    folder: Path,
    parts: Mapping[str, "Characters"],
    seeds: Mapping[int, tuple[list[dict], Mapping[str, np.ndarray]]],
    confidence: Confidence,
    parameters: int | None = None,
) -> dict:
    """Writes report.md, metrics.json, history.csv, predictions.csv and figures/ into a run's folder.

    Args:
        folder: The run's folder.
        parts: "train", "validation" and "test".
        seeds: For each seed the rows of its epochs and its logits `(N, classes)` of "validation" and "test"; with
            test-time augmentation also "test_single_view".
        confidence: What the answers promise.
        parameters: Parameters of the model. Defaults to none, not reported.

    Returns:
        What metrics.json holds.
    """
    folder = Path(folder)
    test, validation = parts["test"], parts["validation"]
    rows = {seed: _judge(validation, test, logits, confidence) for seed, (_, logits) in seeds.items()}
    for seed, (_, logits) in seeds.items():
        if "test_single_view" in logits:
            once = accuracy(test.labels, logits["test_single_view"].argmax(axis=1))
            rows[seed] |= {"single_view_accuracy": once.value, "single_view_wrong": once.count - once.right}
    singles = np.array([row["accuracy"] for row in rows.values()])
    mean, low, high = mean_interval(singles)
    together = {
        part: np.log(np.mean([calibration.softmax(logits[part]) for _, logits in seeds.values()], axis=0) + 1e-30)
        for part in ("validation", "test")
    }
    ensemble = _judge(validation, test, together, confidence)
    metrics = {
        "data": test.name,
        "classes": len(test.classes),
        "images": {part: len(c) for part, c in parts.items()},
        "parameters": parameters,
        "single": {"mean": mean, "low": low, "high": high, "seeds": {str(s): r for s, r in rows.items()}},
        "ensemble": ensemble,
        "seconds": round(sum(r["seconds"] for h, _ in seeds.values() for r in h), 1),
    }
    write_json(folder / "metrics.json", metrics)
    histories = {seed: history for seed, (history, _) in seeds.items()}
    _csv(folder / "history.csv", pd.concat([pd.DataFrame(h).assign(seed=s) for s, h in histories.items()]))
    first = next(iter(seeds))
    shown = seeds[first][1]
    probabilities = calibration.softmax(shown["test"], rows[first]["temperature"])
    _csv(folder / "predictions.csv", _predictions(test, probabilities, rows[first], f"seed{first}"))
    _draw(folder / "figures", test, shown, probabilities, rows[first], histories)
    with atomic_write(folder / "report.md") as file:
        file.write(_text(metrics, test, validation, confidence, first))
    return metrics


def _judge(validation, test, logits, confidence) -> dict:
    """The figures of one model: fitted on the validation part, measured on the test."""
    fitted = calibration.fit_confidence(validation.labels, logits["validation"], confidence)
    given = calibration.softmax(logits["test"], fitted["temperature"])
    sets = calibration.conformal_sets(given, fitted["set_threshold"])
    answer = given.argmax(axis=1)
    right = accuracy(test.labels, answer)
    sure = given.max(axis=1) >= fitted["abstain_below"]
    sure_right = accuracy(test.labels[sure], answer[sure])
    return {
        "accuracy": right.value,
        "low": right.low,
        "high": right.high,
        "wrong": right.count - right.right,
        "validation_accuracy": accuracy(validation.labels, logits["validation"].argmax(axis=1)).value,
        **fitted,
        "ece_before": calibration.expected_calibration_error(test.labels, calibration.softmax(logits["test"])),
        "ece": calibration.expected_calibration_error(test.labels, given),
        "nll": calibration.negative_log_likelihood(test.labels, logits["test"], fitted["temperature"]),
        "set_coverage": float(sets[np.arange(len(test)), test.labels].mean()),
        "set_size": float(sets.sum(axis=1).mean()),
        "sets_of_one": float((sets.sum(axis=1) == 1).mean()),
        "answered": float(sure.mean()),
        "answered_accuracy": sure_right.value if sure.any() else None,
    }


def _predictions(test, probabilities: np.ndarray, row: dict, name: str) -> pd.DataFrame:
    sets = calibration.conformal_sets(probabilities, row["set_threshold"])
    names = np.array(test.classes)
    answer = probabilities.argmax(axis=1)
    return pd.DataFrame(
        {
            "Row": np.arange(len(test)),
            "Truth": names[test.labels],
            "Prediction": names[answer],
            "Probability": probabilities.max(axis=1).round(6),
            "Set": [" ".join(names[s]) for s in sets],
            "Unsure": probabilities.max(axis=1) < row["abstain_below"],
            "Model": name,
            "Split": "test",
        }
    )


def _draw(folder: Path, test, logits, probabilities, row, histories) -> None:
    answer = probabilities.argmax(axis=1)
    digits_figures.save_curves(folder / "curves.png", histories)
    matrix = confusion_matrix(test.labels, answer, labels=np.arange(len(test.classes)))
    digits_figures.save_confusion(folder / "confusion.png", matrix, test.classes)
    before = calibration.reliability(test.labels, calibration.softmax(logits["test"]))
    digits_figures.save_reliability(
        folder / "reliability.png", before, calibration.reliability(test.labels, probabilities)
    )
    answered, risk = calibration.risk_coverage(test.labels, probabilities)
    digits_figures.save_risk_coverage(folder / "abstaining.png", answered, risk, row["answered"])
    hard = hardest(test.labels, probabilities)
    names = np.array(test.classes)
    digits_figures.save_hardest(
        folder / "hardest.png",
        test.images[hard],
        names[test.labels[hard]],
        names[answer[hard]],
        probabilities.max(axis=1)[hard],
    )


def _text(metrics: dict, test, validation, confidence: Confidence, first: int) -> str:
    single, seeds = metrics["single"], metrics["single"]["seeds"]
    row = seeds[str(first)]
    spread = f" (mean of {len(seeds)} seeds, {_percent(single['low'], single['high'])})" if len(seeds) > 1 else ""
    size = f", {metrics['parameters']:,} parameters" if metrics["parameters"] else ""
    table = [
        [
            name,
            f"{100 * r['accuracy']:.2f} % ({_percent(r['low'], r['high'])})",
            r["wrong"],
            f"{100 * r['validation_accuracy']:.2f} %",
            f"{100 * r['ece_before']:.2f} %",
            f"{100 * r['ece']:.2f} %",
            f"{r['temperature']:.2f}",
        ]
        for name, r in [*((f"seed {s}", r) for s, r in seeds.items()), ("ensemble", metrics["ensemble"])]
    ]
    head = ["model", "test accuracy (95 %)", "wrong", "validation", "ECE before", "ECE after", "temperature"]
    views = ""
    if "single_view_accuracy" in row:
        without = 100 * np.mean([r["single_view_accuracy"] for r in seeds.values()])
        wrong = ", ".join(str(r["single_view_wrong"]) for r in seeds.values())
        views = (
            "\nAn answer is the mean over five views (test-time augmentation): the image, and rotated, smaller and "
            f"larger copies of it. From the image alone: {without:.2f} % ({wrong} wrong).\n"
        )
    answered = "none" if row["answered_accuracy"] is None else f"{100 * row['answered_accuracy']:.3f} %"
    return f"""\
A single model reads {100 * single["mean"]:.2f} % of the {len(test):,} test images of {metrics["data"]} \
right{spread}{size}; its confidence is off by {100 * row["ece"]:.2f} % on average after scaling.

# Recogniser on {metrics["data"]}

{tabulate(table, head, tablefmt="github", disable_numparse=True)}
{views}
The ensemble is the mean of the seeds' probabilities. Nothing was chosen on the test images:
{len(validation):,} training images were held out for watching and for calibration.

![Curves](figures/curves.png)

## What it is sure of

Fitted on the held-out images, measured on the test (seed {first}):

* Conformal sets promised at {100 * confidence.coverage:.1f} % hold the truth in {100 * row["set_coverage"]:.2f} %.
  They have {row["set_size"]:.2f} classes on average, and {100 * row["sets_of_one"]:.1f} % of them have one.
* Answers promised right at {100 * confidence.accuracy:.2f} %: {100 * row["answered"]:.1f} % are given, {answered}
  right. The others are “unsure” (probability under {row["abstain_below"]:.3f}).

![Reliability](figures/reliability.png)

![Abstaining](figures/abstaining.png)

## What it gets wrong

![Confusion](figures/confusion.png)

The hardest images, whose true class got the lowest probability (truth → answer):

![Hardest](figures/hardest.png)
"""


def _percent(low: float, high: float) -> str:
    return f"{100 * low:.2f}–{100 * min(high, 1):.2f} %"


def _csv(path: Path, frame: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        frame.to_csv(file, index=False)
