"""Corruptions, strangers, and the reports that are written without a model."""

import numpy as np
import pandas as pd
import pytest

from age_keras.characters.data.load import load_sklearn
from age_keras.characters.data.out_of_distribution import strangers
from age_keras.characters.evaluation.ablation_report import write_ablation_report
from age_keras.characters.evaluation.corruptions import CORRUPTIONS, corrupt
from age_keras.characters.evaluation.robustness import on_strangers, under_rotation, under_shift
from age_keras.characters.evaluation.writers_report import auc_by_count, best_cut, write_writers_report, writer_scores
from age_keras.errors import InputError

IMAGES = load_sklearn().images[:20]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_grows_with_severity_and_repeats(name):
    mild, severe = corrupt(IMAGES, name, 1), corrupt(IMAGES, name, 5)
    assert mild.shape == severe.shape == IMAGES.shape
    assert mild.dtype == np.uint8
    np.testing.assert_array_equal(severe, corrupt(IMAGES, name, 5))
    changed = [np.abs(x.astype(float) - IMAGES).mean() for x in (mild, severe)]
    assert 0 < changed[0] < changed[1]


def test_unknown_corruptions_and_severities_are_named():
    with pytest.raises(InputError, match="fog"):
        corrupt(IMAGES, "fog")
    with pytest.raises(InputError, match="severity"):
        corrupt(IMAGES, "blur", 6)


def test_strangers_have_the_images_shape_and_ink():
    sets = strangers(IMAGES, 15)
    assert {s.shape for s in sets.values()} == {(15, 28, 28)}
    assert {s.dtype for s in sets.values()} == {np.dtype(np.uint8)}
    assert not sets["blank"].any()
    assert sets["stroke letters"].max(axis=(1, 2)).min() > 150


def test_an_answer_from_position_suffers_from_shifts_and_turns():
    def left_or_right(images):
        mass = images[:, :, :14].sum(axis=(1, 2)) / np.maximum(images.sum(axis=(1, 2)), 1)
        return np.stack([mass, 1 - mass], axis=1)

    images = np.zeros((2, 28, 28), np.uint8)
    images[0, 10:18, 9:12] = images[1, 10:18, 16:19] = 255
    labels = np.array([0, 1])
    shifted = under_shift(left_or_right, images, labels)
    assert shifted[0] == 1
    assert shifted[6] == 0.75  # Half of the sideways shifts cross the middle.
    assert under_rotation(left_or_right, images, labels)[0] == 1
    found = on_strangers(left_or_right, images, {"blank": np.zeros((4, 28, 28), np.uint8)}, 0.7)
    assert found["digits"]["unsure"] == 0
    assert found["blank"]["auroc"] == 0.5


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
