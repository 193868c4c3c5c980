"""Calibration, conformal sets and abstaining: against brute force and their own promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from age_keras.characters import calibration
from age_keras.errors import InputError


def _logits(count, classes=10, sharpness=3.0, seed=0):
    """Logits whose softmax is the true chance of each class, and truths drawn from it."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness, (count, classes))
    chances = calibration.softmax(logits)
    truth = (chances.cumsum(axis=1) < rng.uniform(size=(count, 1))).sum(axis=1).clip(max=classes - 1)
    return truth, logits


def test_ece_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    truth = np.array([0, 1, 0, 1])
    # 0.9: half right, off by 0.4 for two of four; 0.6: both right, off by 0.4 for two of four.
    assert calibration.expected_calibration_error(truth, probabilities) == pytest.approx(0.4)
    diagram = calibration.reliability(truth, probabilities, bins=10)
    assert diagram.count.tolist() == [0, 0, 0, 0, 0, 2, 0, 0, 2, 0]


def test_true_chances_are_calibrated_and_sharpened_ones_are_not():
    truth, logits = _logits(20_000)
    assert calibration.expected_calibration_error(truth, calibration.softmax(logits)) < 0.01
    assert calibration.expected_calibration_error(truth, calibration.softmax(2 * logits)) > 0.03


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_is_found(factor):
    truth, logits = _logits(20_000, seed=1)
    assert calibration.fit_temperature(truth, factor * logits) == pytest.approx(factor, rel=0.05)


def test_held_out_images_that_are_all_right_do_not_buy_boundless_confidence():
    logits = np.full((100, 10), -3.0)
    logits[:, 0] = 3.0
    truth = np.zeros(100, int)
    confidence = calibration.softmax(logits, calibration.fit_temperature(truth, logits)).max()
    assert 0.98 < confidence < 0.995


def test_temperature_of_nothing_is_refused():
    with pytest.raises(InputError, match="held-out"):
        calibration.fit_temperature(np.zeros(0, int), np.zeros((0, 3)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.8, 0.9, 0.99]))
def test_conformal_sets_cover_the_held_out_images_themselves(seed, coverage):
    truth, logits = _logits(300, sharpness=1.5, seed=seed)
    probabilities = calibration.softmax(logits)
    threshold = calibration.conformal_threshold(truth, probabilities, coverage)
    sets = calibration.conformal_sets(probabilities, threshold)
    assert sets[np.arange(300), truth].mean() >= coverage
    assert sets.any(axis=1).all()


def test_conformal_sets_cover_new_images_at_their_level():
    covered = []
    for seed in range(40):
        truth, logits = _logits(1200, sharpness=1.5, seed=seed)
        probabilities = calibration.softmax(logits)
        threshold = calibration.conformal_threshold(truth[:200], probabilities[:200], 0.9)
        sets = calibration.conformal_sets(probabilities[200:], threshold)
        covered.append(sets[np.arange(1000), truth[200:]].mean())
    assert np.mean(covered) == pytest.approx(0.905, abs=0.012)


def test_too_few_held_out_images_put_every_class_in_every_set():
    truth, logits = _logits(500)
    probabilities = calibration.softmax(logits)
    assert calibration.conformal_threshold(truth, probabilities, 0.999) == 0
    assert calibration.conformal_sets(probabilities, 0.0).all()
    with pytest.raises(InputError, match="coverage"):
        calibration.conformal_threshold(truth, probabilities, 1.0)


def test_the_abstain_threshold_keeps_its_promise_where_it_was_fitted():
    truth, logits = _logits(2000, sharpness=6)
    probabilities = calibration.softmax(logits)
    at = calibration.abstain_threshold(truth, probabilities, 0.95)
    sure = probabilities.max(axis=1) >= at
    assert (probabilities.argmax(axis=1) == truth)[sure].mean() >= 0.95
    assert 0.2 < sure.mean() < 1
    assert calibration.abstain_threshold(truth, probabilities, 0.01) == 0
    everything_wrong = calibration.abstain_threshold((probabilities.argmax(axis=1) + 1) % 10, probabilities, 0.99)
    assert everything_wrong > probabilities.max()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([1e-9, 1e-7, 0.01]), st.booleans()), min_size=1),
    st.sampled_from([0.5, 0.8, 0.95, 0.9995, 1.0]),
    st.sampled_from([np.float64, np.float32]),
)
def test_of_what_is_answered_the_wanted_share_is_right_with_ties_too(rows, wanted, dtype):
    # Many equal confidences, and some so near to each other that they are equal in float32.
    confidence = np.array([1 - steps * size for steps, size, _ in rows])
    probabilities = np.stack([confidence, 1 - confidence], axis=1).astype(dtype)
    truth = np.array([0 if right else 1 for _, _, right in rows])
    at = calibration.abstain_threshold(truth, probabilities, wanted)
    assert at == np.float32(at)
    for compared in (probabilities.max(axis=1), probabilities.max(axis=1).astype(np.float32)):
        given_ = compared >= np.float32(at)
        assert not given_.any() or (truth == 0)[given_].mean() >= wanted - 1e-9
    if all(right for _, _, right in rows):
        assert at == 0


def test_ties_at_the_highest_confidence_are_not_cut_apart():
    probabilities = np.tile([[0.9, 0.1]], (4, 1)).astype(np.float32)
    at = calibration.abstain_threshold(np.array([0, 0, 0, 1]), probabilities, 0.99)
    assert at == np.nextafter(np.float32(0.9), np.float32(2))
    # 0.8 is right and 0.7 is not: cut between them.
    probabilities = np.array([[0.8, 0.2], [0.7, 0.3], [0.7, 0.3]], np.float32)
    assert calibration.abstain_threshold(np.array([0, 0, 1]), probabilities, 0.99) == np.float32(0.8)
    assert calibration.abstain_threshold(np.zeros(0, int), np.zeros((0, 2)), 0.9) == 0


def test_risk_over_coverage_ends_at_the_error_of_all():
    truth, logits = _logits(500)
    answered, risk = calibration.risk_coverage(truth, calibration.softmax(logits))
    assert answered[-1] == 1
    assert risk[-1] == pytest.approx((logits.argmax(axis=1) != truth).mean())
