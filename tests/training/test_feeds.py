"""Feeds: what a phase held in memory is gone before the next one's features are made, and after the training."""

import weakref

import numpy as np

from age_keras.config.age import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.training import protocol
from age_keras.training.feeds import FeatureFeed, PatchData


def test_the_features_of_a_phase_leave_the_memory_before_the_next_ones_come(inked_pages, monkeypatch):
    table, store = inked_pages(12, 2)
    config = AgeConfig(
        backbones=("resnet10",),
        model=ModelConfig(weights="none"),
        training=TrainingConfig(
            frozen=PhaseConfig(epochs=1, learning_rate=0.02),
            fine_tune=PhaseConfig(epochs=1, learning_rate=1e-3, unfreeze=0.5),
            batch_size=8,
            augment="none",
        ),
        runtime=RuntimeConfig(save_every=0),
    )
    made, alive, make_feed = [], [], protocol.make_feed

    def watched(*args):
        alive.append(sum(held() is not None for held in made))
        feed = make_feed(*args)
        assert isinstance(feed, FeatureFeed)
        made.extend([weakref.ref(feed.copies), weakref.ref(feed.plain)])
        return feed

    monkeypatch.setattr(protocol, "make_feed", watched)
    rows = np.arange(12)
    part = protocol.Part("", rows < 8, (rows >= 8) & (rows < 10), rows >= 10)
    ages = table["Age"].to_numpy(np.float32)
    protocol.train(config, PatchData(store, ages[store.page][:, None]), table, part, progress=False)
    assert alive == [0, 0]
    assert [held() for held in made] == [None] * 4
