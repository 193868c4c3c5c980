"""The reports that are written without a model."""

import numpy as np
import pandas as pd
import pytest

from age_keras.characters.evaluation.ablation_report import write_ablation_report
from age_keras.characters.evaluation.writers_report import auc_by_count, best_cut, write_writers_report, writer_scores


def test_a_writers_score_is_the_mean_of_their_digits(tmp_path):
    rng = np.random.default_rng(0)
    writers = np.repeat(np.arange(40), 25)
    student = (writers % 2).astype(int)
    digits = pd.DataFrame(
        {
            "Row": np.arange(1000),
            "Writer": writers,
            "Digit": rng.integers(0, 10, 1000),
            "Student": student,
            "Score": rng.normal(student - 0.5, 2.0),
        }
    )
    scores = writer_scores(digits)
    assert len(scores) == 40
    assert scores["Score"][3] == pytest.approx(digits.loc[digits["Writer"] == 3, "Score"].mean())
    counts = auc_by_count(digits, repeats=5)
    assert counts[1] < counts[20]
    assert scores["Score"].min() <= best_cut(scores) < scores["Score"].max()
    staged = np.where(np.arange(40) % 2, 1.0, -1.0)
    report = write_writers_report(
        tmp_path, digits, digits, (staged, staged), [{"epoch": 1, "seconds": 1.0}], 10
    ).read_text(encoding="utf-8")
    assert "20 students, 20 employees" in report.splitlines()[0]
    assert "AUC of 1.000" in report.splitlines()[0]
    assert pd.read_csv(tmp_path / "writers.csv")["MeanScore"].to_numpy() == pytest.approx(scores["Score"].to_numpy())


def test_the_ablation_names_only_differences_that_are_certain(tmp_path):
    errors = {"whole": (0.010, 0.011, 0.012), "worse": (0.030, 0.031, 0.032), "same": (0.012, 0.010, 0.011)}
    rows = {
        name: {s: {"error": e, "parameters": 100, "seconds": 2.0} for s, e in enumerate(values)}
        for name, values in errors.items()
    }
    report = write_ablation_report(tmp_path, "digits", rows, 3).read_text(encoding="utf-8")
    assert "worse (+2.00 points)" in report.splitlines()[0]
    assert "same" not in report.splitlines()[0]
    assert len(pd.read_csv(tmp_path / "ablation.csv")) == 3
