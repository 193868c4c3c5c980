"""Tables of intervals: how often ages lie within, with an interval of its own, and what is warned of."""

import numpy as np
import pandas as pd
import pytest

from age_keras.evaluation.intervals.table import coverage_rows, warning, wilson
from age_keras.predictions.alignment import align
from age_keras.predictions.intervals import add_intervals
from age_keras.predictions.table import read_predictions


def test_published_predictions_cover_writers_as_promised(shared_data):
    frame = add_intervals(read_predictions(shared_data / "published/cnn_cv_oof.csv"))
    table = align(frame)
    for model in range(5):
        row = coverage_rows(table, model, ())[0]
        assert 89 < row["writer_coverage"] < 91
        assert row["page_coverage"] < 86  # One writer has 40 pages.


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (17, 20), (20, 20), (450, 500)])
def test_wilsons_interval_by_its_definition(hits, n):
    """Its ends are the fractions whose own normal interval just reaches the one seen."""
    low, high = wilson(hits / n, n)
    for end in (low, high):
        if 0 < end < 1:
            assert abs(hits / n - end) == pytest.approx(1.96 * np.sqrt(end * (1 - end) / n), rel=1e-3)
    assert low <= hits / n <= high
    assert high - low > 0.02


def test_intervals_that_say_nothing_are_named():
    rng = np.random.default_rng(0)
    names = [f"w{i}" for i in range(60)]
    frame = pd.DataFrame({"ImageID": names, "TrueAge": rng.uniform(8, 60, 60), "Model": "net", "Fold": 0})
    frame = frame.assign(Prediction=frame.TrueAge + rng.normal(0, 3, 60), Writer=names)

    def warned(held_out):
        bounded = add_intervals(frame.assign(Split=np.where(np.arange(60) < held_out, "val", "test")))
        return warning(align(bounded[bounded.Split == "test"]))

    assert "0 to 120 years" in warned(3)
    assert warned(30) == ""
