"""Heads trained together are kept with the run, for the same configuration, patches and parts."""

from dataclasses import replace

import numpy as np

from age_keras.config.age import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.data.table.samples import Samples
from age_keras.run.folder import Run
from age_keras.training.feeds import PatchData
from age_keras.training.heads import batched as batched_heads
from age_keras.training.protocol import Part
from age_keras.training.study import Study


def test_a_resumed_run_reads_its_heads(inked_pages, tmp_path, monkeypatch):
    table, store = inked_pages(12, 2)
    rows = np.arange(12)
    parts = [
        Part("a", rows < 8, (rows >= 8) & (rows < 10), rows >= 10, fold=1),
        Part("b", rows >= 4, (rows >= 2) & (rows < 4), rows < 2, fold=2),
    ]
    training = TrainingConfig(
        frozen=PhaseConfig(epochs=2, learning_rate=0.02), batch_size=8, augment="none", batched_heads=True
    )
    config = AgeConfig(
        backbones=("resnet10",),
        model=ModelConfig(weights="none"),
        training=training,
        runtime=RuntimeConfig(prefix_cache=False),
    )
    data = PatchData(store, table["Age"].to_numpy(np.float32)[store.page][:, None])
    study, calls = Study(config, Run(tmp_path), Samples(None, table), data, False), []
    train_all_heads = batched_heads.train_all_heads
    monkeypatch.setattr(batched_heads, "train_all_heads", lambda *args: calls.append(1) or train_all_heads(*args))
    first = batched_heads.train_heads(study, config, parts)
    again = batched_heads.train_heads(study, replace(config, runtime=replace(config.runtime, workers=2)), parts)
    assert len(calls) == 1
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.kernel, two.kernel)
        np.testing.assert_array_equal(one.bias, two.bias)
        assert (one.best_epoch, one.history) == (two.best_epoch, two.history)
    (kept,) = tmp_path.glob("state/*")
    assert kept.name == "resnet10.heads.npz"
    batched_heads.train_heads(study, config, parts[::-1])
    assert len(calls) == 2
    kept.write_bytes(kept.read_bytes()[:100])
    batched_heads.train_heads(study, config, parts[::-1])
    assert len(calls) == 3
