"""Intervals of a run's predictions: who calibrates whom, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from age_keras.conformal.quantile import hierarchical_quantile
from age_keras.errors import InputError
from age_keras.predictions.alignment import align
from age_keras.predictions.intervals import add_intervals, can_calibrate


@pytest.fixture
def run_rows():
    """Predictions of a run: two folds, each with its own rows of val."""
    rng, frames = np.random.default_rng(6), []
    for fold in (1, 2):
        for split in ("val", "oof"):
            who = np.repeat(np.arange(60), rng.integers(1, 9, 60))
            age = rng.gamma(3, 8, 60) + 8
            said = age[who] + rng.normal(0, 0.2 * age)[who] + rng.normal(0, 1, len(who))
            name = [f"{split}{fold}-{w}" for w in who]
            frames.append(
                pd.DataFrame(
                    {
                        "ImageID": [f"{n}-{i}" for i, n in enumerate(name)],
                        "TrueAge": age[who],
                        "Prediction": said,
                        "Model": "net",
                        "Fold": fold,
                        "Writer": name,
                        "Split": split,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def test_a_run_is_calibrated_fold_by_fold(run_rows):
    got = add_intervals(run_rows)
    assert got.Lower[got.Split == "val"].isna().all()
    scored = got[got.Split == "oof"]
    assert scored.Lower.notna().all()
    assert can_calibrate(got)
    for fold in (1, 2):
        held_out = run_rows[(run_rows.Fold == fold) & (run_rows.Split == "val")]
        errors = np.abs(held_out.TrueAge - held_out.Prediction).to_numpy()
        reach = hierarchical_quantile(errors, held_out.Writer.to_numpy(str), 0.9)
        rows = scored[scored.Fold == fold]
        np.testing.assert_allclose(rows.Upper, rows.Prediction + reach)
    pd.testing.assert_frame_equal(add_intervals(got), got)


def test_without_val_the_other_folds_calibrate(run_rows):
    got = add_intervals(run_rows[run_rows.Split == "oof"])
    assert got.Lower.notna().all()
    first, second = ((got.Upper - got.Prediction)[got.Fold == f] for f in (1, 2))
    assert np.ptp(first) < 1e-9
    assert abs(first.iloc[0] - second.iloc[0]) > 1e-3


def test_nothing_to_calibrate_with_gives_no_bounds(run_rows):
    got = add_intervals(run_rows[(run_rows.Split == "oof") & (run_rows.Fold == 1)].assign(Split="test"))
    assert got.Lower.isna().all()


def test_a_quantile_heads_bounds_are_kept_and_moved(run_rows):
    raw = run_rows.assign(Lower=run_rows.Prediction - 1, Upper=run_rows.Prediction + 2)
    got = add_intervals(raw)
    np.testing.assert_array_equal(got.LowerQuantile, raw.Lower)
    scored = got[got.Split == "oof"]
    assert ((scored.Lower < scored.LowerQuantile) | (scored.Lower == 0)).all()
    pd.testing.assert_frame_equal(add_intervals(got), got)
    assert "LowerQuantile" not in align(got[got.Split == "oof"]).pages


def test_cqr_without_a_quantile_head_is_refused(run_rows):
    with pytest.raises(InputError, match="quantile head"):
        add_intervals(run_rows, method="cqr")
    with pytest.raises(InputError, match="between 0 and 1"):
        add_intervals(run_rows, coverage=90)


def test_mondrian_bounds_by_the_bands_that_are_given():
    rng, frames = np.random.default_rng(0), []
    for split in ("val", "test"):
        age = np.repeat([9.0, 12.0, 20.0], 40)  # Bands up to 10, 11-12, over 12; errors of 0.1, 3 and 6 years.
        error = np.repeat([0.1, 3.0, 6.0], 40) * rng.choice([-1, 1], 120)
        names = [f"{split}{i}" for i in range(120)]
        rows = pd.DataFrame({"ImageID": names, "TrueAge": age + error, "Prediction": age, "Model": "net", "Fold": 0})
        frames.append(rows.assign(Writer=names, Split=split))
    frame = pd.concat(frames, ignore_index=True)

    def widths(edges):
        got = add_intervals(frame, method="mondrian", edges=edges)
        scored = got[got.Split == "test"]
        return (scored.Upper - scored.Lower).groupby(scored.Prediction).mean().tolist()

    assert widths((10, 12)) == pytest.approx([0.2, 6, 12])
    assert widths((15,)) == pytest.approx([6, 6, 12])
    with pytest.raises(InputError, match="`mondrian` needs age bands"):
        add_intervals(frame, method="mondrian")
