"""Heads and their losses: they start at the median, decode to years, and their losses are what the papers say."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from age_keras.models.heads import HEADS, AgeDecoder, AgeError
from age_keras.models.losses import CornLoss, LabelDistributionLoss, MeanVarianceLoss, PinballLoss


def decode(head, raw):
    return keras.ops.convert_to_numpy(HEADS[head].decode(np.asarray(raw, np.float32)))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("median", "deviation"), [(15, 5.0), (40, 12.0)])
def test_an_untrained_head_answers_the_median_or_the_mean_of_a_laplace_distribution_around_it(head, median, deviation):
    years = decode(head, [HEADS[head].bias(median, deviation)])
    ages = np.arange(101)
    laplace = np.exp(-np.abs(ages - median) / deviation)
    expected = median if head in ("regression", "quantile") else (ages * laplace).sum() / laplace.sum()
    middle = years[0, 1] if head == "quantile" else years[0, 0]
    assert middle == pytest.approx(expected, abs=1e-3)


def test_quantiles_never_cross_and_start_at_the_spread():
    low, middle, high = decode("quantile", [HEADS["quantile"].bias(30, 6.0)])[0]
    assert (low, middle, high) == pytest.approx((30 - 13.8, 30, 30 + 13.8), abs=0.1)
    raw = np.random.default_rng(0).normal(scale=30, size=(50, 3))
    assert (np.diff(decode("quantile", raw), axis=1) >= 0).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(10, 90))  # nearer to an end, the cut-off Gaussian has another mean
def test_label_distribution_loss_is_smallest_at_the_truth(age):
    loss = LabelDistributionLoss()
    ages = np.arange(101)

    def at(centre):
        return float(loss(np.array([[age]], np.float32), (-0.5 * ((ages - centre) / 2.0) ** 2)[None].astype("float32")))

    assert at(age) < 0.2
    assert at(age) < at(age + 4)
    assert at(age) < at(age - 4)


def test_corn_decodes_what_its_own_labels_say():
    # Certain of being older than 0 ... 29 and not older than 30.
    raw = np.where(np.arange(100) < 30, 20.0, -20.0)[None]
    assert decode("corn", raw)[0, 0] == pytest.approx(30, abs=0.01)
    loss = CornLoss()
    right = float(loss(np.array([[30.0]]), raw.astype("float32")))
    wrong = float(loss(np.array([[40.0]]), raw.astype("float32")))
    assert right == pytest.approx(0, abs=1e-4)
    assert wrong > 10


def test_mean_variance_loss_by_hand():
    logits = np.random.default_rng(1).normal(size=(1, 101)).astype("float32")
    p = np.exp(logits[0]) / np.exp(logits[0]).sum()
    mean = (p * np.arange(101)).sum()
    variance = (p * (np.arange(101) - mean) ** 2).sum()
    expected = -np.log(p[20]) + 0.2 * 0.5 * (mean - 20) ** 2 + 0.05 * variance
    assert float(MeanVarianceLoss()(np.array([[20.0]]), logits)) == pytest.approx(expected, rel=1e-4)


def test_pinball_loss_by_hand():
    raw = np.array([[-50.0, 20.0, -50.0]], np.float32)  # all three quantiles at 20
    assert float(PinballLoss()(np.array([[30.0]]), raw)) == pytest.approx(10 * (0.05 + 0.5 + 0.95), rel=1e-4)


@pytest.mark.parametrize("loss", [LabelDistributionLoss(3.0), MeanVarianceLoss(0.1), CornLoss(), PinballLoss()])
def test_losses_are_rebuilt_from_their_configuration(loss):
    again = type(loss).from_config(loss.get_config())
    assert again.get_config() == loss.get_config()


def test_the_error_metric_is_in_years():
    metric = AgeError("corn")
    metric.update_state(np.array([[33.0]]), np.where(np.arange(100) < 30, 20.0, -20.0)[None].astype("float32"))
    assert float(metric.result()) == pytest.approx(3, abs=0.01)
    with pytest.raises(ValueError, match="Received: head=other"):
        AgeDecoder("other")
