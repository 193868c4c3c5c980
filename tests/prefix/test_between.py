"""The features of both phases by one pass of the pixels through the network."""

from dataclasses import replace

import numpy as np
import pytest

from age_keras.config.age import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.models.age import build_age_model, unfreeze
from age_keras.prefix import FeatureCache, cut_model
from age_keras.prefix.compute import PrefixPass
from age_keras.prefix.cut import between
from age_keras.training.feeds import PatchData, PhaseFeatures
from age_keras.training.model_pool import ModelPool
from age_keras.training.phases import PhasePlan
from age_keras.training.protocol import Part, train


def cuts(backbone, ratio, size=64):
    """(the cut of phase 2, the cut of phase 1) of one small model."""
    age = build_age_model(backbone, ModelConfig(weights="none", batch_norm="inference"), size)
    unfreeze(age, ratio)
    lower = cut_model(age.trained)
    unfreeze(age, 0.0)
    return lower, cut_model(age.trained)


@pytest.mark.parametrize("backbone", ["resnet10", "mobilevit_xxs", "densenet121"])
def test_from_one_cut_to_the_next_is_what_the_pixels_give(backbone):
    lower, higher = cuts(backbone, 0.3)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 1), dtype=np.uint8)
    exact = higher.prefix(pixels)
    onward = between(lower, higher)(lower.prefix(pixels))
    for a, b in zip(onward, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())


def test_nothing_leads_downwards_or_to_another_model():
    lower, higher = cuts("resnet10", 0.3)
    assert between(higher, lower) is None
    assert between(lower, cuts("resnet10", 0.3)[1]) is None


@pytest.fixture
def counted(monkeypatch):
    """How many patches went through the network as pixels."""
    seen = []
    compute = PrefixPass.compute

    def count(self, rows, view):
        if self.below is None:
            seen.append(len(rows))
        return compute(self, rows, view)

    monkeypatch.setattr(PrefixPass, "compute", count)
    return seen


CONFIG = AgeConfig(
    backbones=("resnet10",),
    model=ModelConfig(weights="none", dropout=0.0, batch_norm="inference"),
    training=TrainingConfig(
        frozen=PhaseConfig(epochs=2, learning_rate=0.02),
        fine_tune=PhaseConfig(epochs=1, learning_rate=1e-3, unfreeze=0.5),
        batch_size=16,
        views=2,
    ),
    runtime=RuntimeConfig(save_every=0),
)


def test_phase_1_starts_from_the_features_of_phase_2(inked_pages, tmp_path, counted):
    _, store = inked_pages(8, 3)
    learn, others = np.arange(16), np.arange(16, 24)

    def features(folder, ahead):
        model = ModelPool().get(CONFIG, store.patches.shape[1], store.patches.shape[-1], 20.0, 5.0)
        plan = PhasePlan(model, CONFIG, len(store.patches))
        wanted = PhaseFeatures(FeatureCache(folder, progress=False), store, CONFIG, learn, others, "")
        return wanted.of(plan.phases[0], plan.ahead(plan.phases[0]) if ahead else None)

    direct = features(tmp_path / "a", ahead=False)
    assert sum(counted) == 2 * 16 + 8
    onward = features(tmp_path / "b", ahead=True)
    assert sum(counted) == 2 * (2 * 16 + 8)  # of phase 2's cut; phase 1's needed no pixels
    for rows, view, a, b in [(learn, 0, *(f[0] for f in (direct, onward))), (others, None, direct[1], onward[1])]:
        np.testing.assert_allclose(a.gather(rows, view)[0], b.gather(rows, view)[0], rtol=1e-5, atol=1e-5)


def test_a_training_passes_each_copy_once_and_ends_as_without_a_cache(inked_pages, counted, tmp_path, monkeypatch):
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path))  # Another test may have cached the same features.
    table, store = inked_pages(24, 3)
    rows = np.arange(24)
    part = Part("", rows < 16, (rows >= 16) & (rows < 20), rows >= 20)
    data = PatchData(store, table["Age"].to_numpy(np.float32)[store.page][:, None])
    cached = train(CONFIG, data, table, part, progress=False)
    assert sum(counted) == (2 * 16 + 8) * 3
    plain = replace(CONFIG, runtime=replace(CONFIG.runtime, prefix_cache=False))
    without = train(plain, data, table, part, progress=False)
    np.testing.assert_allclose(cached.pages["Prediction"], without.pages["Prediction"], atol=0.02)
