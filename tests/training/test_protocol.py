"""Training: killed and resumed ends the same; a cached prefix ends the same; every option of the protocol trains."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from age_keras.config.age import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.data.table.samples import Samples
from age_keras.training import feeds
from age_keras.training.feeds import PatchData, PhaseFeatures
from age_keras.training.heads.batched import can_batch, train_heads
from age_keras.training.model_pool import ReusableModel
from age_keras.training.protocol import Part, train
from age_keras.training.rare_ages import lds_weights
from age_keras.training.study import Study

PAGES, PATCHES = 24, 3
CONFIG = AgeConfig(
    backbones=("resnet10",),
    model=ModelConfig(weights="none", dropout=0.3, batch_norm="inference"),
    training=TrainingConfig(
        frozen=PhaseConfig(epochs=2, learning_rate=0.02),
        fine_tune=PhaseConfig(epochs=2, learning_rate=1e-3, unfreeze=0.5),
        batch_size=16,
        views=2,
    ),
    runtime=RuntimeConfig(save_every=0),
)


@pytest.fixture(scope="module")
def pages(inked_pages):
    """Patches whose blackness grows with the age, two pages a writer."""
    table, store = inked_pages(PAGES, PATCHES)
    rows = np.arange(PAGES)
    part = Part("", rows < 16, (rows >= 16) & (rows < 20), rows >= 20)
    ages = table["Age"].to_numpy(np.float32)
    return PatchData(store, ages[store.page][:, None]), table, part


def run(pages, config=CONFIG, **options):
    data, table, part = pages
    return train(config, data, table, part, progress=False, **options)


@pytest.fixture(scope="module")
def uninterrupted(pages):
    return run(pages)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_killed_run_goes_on_and_ends_the_same(pages, uninterrupted, tmp_path, epoch):
    def kill(done, logs):
        if done == epoch:
            raise KilledError

    state = tmp_path / "state.npz"
    with pytest.raises(KilledError):
        run(pages, state=state, on_epoch=kill)
    resumed = run(pages, state=state)
    assert resumed.pages.equals(uninterrupted.pages)
    columns = ["phase", "epoch", "loss", "val_mae", "learning_rate"]
    pd.testing.assert_frame_equal(resumed.history[columns], uninterrupted.history[columns])


def test_a_run_killed_in_a_phase_that_freezes_what_the_one_before_trained_ends_the_same(pages, tmp_path):
    """Its features are those of the trained layers, not of the untrained ones that a new process builds."""
    frozen, fine_tune = (replace(CONFIG.training.frozen, unfreeze=ratio) for ratio in (0.5, 0.0))
    config = replace(CONFIG, training=replace(CONFIG.training, frozen=frozen, fine_tune=fine_tune))

    def kill(done, logs):
        if done == 2:
            raise KilledError

    state = tmp_path / "state.npz"
    with pytest.raises(KilledError):
        run(pages, config, state=state, on_epoch=kill)
    resumed, whole = run(pages, config, state=state), run(pages, config)
    assert resumed.history["loss"].tolist() == whole.history["loss"].tolist()
    assert resumed.pages.equals(whole.pages)


def test_without_the_prefix_cache_the_result_is_the_same(pages, uninterrupted):
    plain = run(pages, replace(CONFIG, runtime=RuntimeConfig(prefix_cache=False)))
    assert plain.history["loss"].tolist() == pytest.approx(uninterrupted.history["loss"].tolist(), rel=1e-6)
    assert plain.pages["Prediction"].tolist() == pytest.approx(uninterrupted.pages["Prediction"].tolist(), rel=1e-5)


@pytest.mark.parametrize("half", [{"prefix_precision": "float16"}, {"prefix_compute": "bfloat16"}], ids=str)
def test_half_precision_of_the_features_is_told_and_ends_nearby(pages, uninterrupted, half):
    trained = run(pages, replace(CONFIG, runtime=RuntimeConfig(**half)))
    assert trained.history["loss"].tolist() == pytest.approx(uninterrupted.history["loss"].tolist(), rel=0.02)
    np.testing.assert_allclose(trained.pages["Prediction"], uninterrupted.pages["Prediction"], rtol=0.02)
    (precision,) = half.values()
    assert any(precision in note for note in trained.notes)  # bfloat16: what it costs, or that it is not to be had.
    assert not any("float16" in note for note in uninterrupted.notes)


def test_an_epoch_of_steps_in_one_call_ends_the_same_and_resumes(pages, uninterrupted, tmp_path, monkeypatch):
    monkeypatch.setattr(feeds, "MANY_STEPS", 1)
    calls = []
    compile_ = ReusableModel.compile
    monkeypatch.setattr(ReusableModel, "compile", lambda *args: calls.append(args[-1]) or compile_(*args))
    together = run(pages)
    assert calls == [3, 3]  # 48 patches in batches of 16, in both phases.

    def kill(done, logs):
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        run(pages, state=tmp_path / "state.npz", on_epoch=kill)
    for trained in (together, run(pages, state=tmp_path / "state.npz")):
        columns = ["phase", "epoch", "loss", "mae", "val_loss", "val_mae", "learning_rate", "gradient_norm"]
        pd.testing.assert_frame_equal(trained.history[columns], uninterrupted.history[columns], rtol=1e-6)
        np.testing.assert_allclose(trained.pages["Prediction"], uninterrupted.pages["Prediction"], rtol=1e-5)


def test_the_seed_fixes_the_result_and_another_changes_it(pages, uninterrupted):
    other = run(pages, replace(CONFIG, seed=1))
    assert not other.pages.equals(uninterrupted.pages)


def test_the_best_epoch_of_both_phases_is_kept_and_history_tells_all(uninterrupted):
    history = uninterrupted.history
    assert history["phase"].tolist() == ["frozen", "frozen", "fine_tune", "fine_tune"]
    assert {"loss", "val_loss", "mae", "val_mae", "learning_rate", "gradient_norm", "seconds"} <= set(history)
    assert uninterrupted.pages["page"].tolist() == list(range(16, 24))


def test_the_model_predicts_what_the_table_says(pages, uninterrupted):
    data = pages[0]
    rows = data.store.page == 20
    years = np.asarray(uninterrupted.model.predictor(data.store.patches[rows])).mean()
    row = uninterrupted.pages.set_index("page").loc[20]
    assert years == pytest.approx(row["Prediction"], rel=1e-5)


def test_it_learns(pages):
    config = replace(
        CONFIG,
        model=replace(CONFIG.model, batch_norm="auto", dropout=0.0),
        training=replace(
            CONFIG.training,
            frozen=PhaseConfig(epochs=0, learning_rate=1e-3),
            fine_tune=PhaseConfig(epochs=8, learning_rate=3e-3, unfreeze=1.0, schedule="cosine"),
            augment="none",
        ),
    )
    trained = run(pages, config)
    truth = pages[1]["Age"].to_numpy()[trained.pages["page"]]
    constant = np.abs(truth - np.median(pages[1]["Age"][:16])).mean()
    assert np.abs(truth - trained.pages["Prediction"]).mean() < 0.7 * constant


@pytest.fixture(scope="module")
def short():
    """A short protocol, with a new copy of each patch every epoch, as mixing needs."""
    phases = {"frozen": PhaseConfig(2, 1e-3), "fine_tune": PhaseConfig(1, 1e-3, unfreeze=1.0)}
    return replace(CONFIG.training, views="inf", augment="none", **phases)


@pytest.fixture(scope="module")
def plain(pages, short):
    return run(pages, replace(CONFIG, training=short))


@pytest.mark.parametrize(
    ("change", "changes"),
    [
        ({"mix": "c_mixup"}, ("frozen", "fine_tune")),
        ({"mix": "regmixup"}, ("frozen", "fine_tune")),
        ({"rare_ages": "lds"}, ("frozen", "fine_tune")),
        ({"frozen": PhaseConfig(2, 1e-3, optimizer="adamw", weight_decay=0.5, warmup=1)}, ("fine_tune",)),
        ({"fine_tune": PhaseConfig(1, 1e-3, unfreeze=1.0, layer_decay=0.1)}, ()),
        ({"fine_tune": PhaseConfig(1, 1e-3, unfreeze=1.0, optimizer="sgd", clip_norm=0.1)}, ()),
    ],
    ids=["c_mixup", "regmixup", "lds", "adamw and warm-up", "layer decay", "clipped sgd"],
)
def test_every_option_of_the_protocol_changes_what_is_learnt(pages, plain, short, change, changes):
    """`changes` are the phases whose training loss differs; that of a single epoch says little of its own steps."""
    data, table, part = pages
    if change.get("rare_ages"):
        data = replace(data, weights=lds_weights(table["Age"].to_numpy())[data.store.page])
    trained = run((data, table, part), replace(CONFIG, training=replace(short, **change)))
    history, before = (each.history.set_index("phase") for each in (trained, plain))
    assert np.isfinite(history["loss"]).all()
    different = ~np.isclose(history["loss"], before["loss"], rtol=1e-4)
    assert set(changes) <= set(history.index[different])
    assert history["val_mae"]["fine_tune"] != pytest.approx(before["val_mae"]["fine_tune"], rel=1e-6)
    assert history["learning_rate"].iloc[0] == pytest.approx(1e-4 if "frozen" in change else 1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["dldl", "corn", "mean_variance", "quantile"])
def test_every_head_trains(pages, head):
    trained = run(pages, replace(CONFIG, model=replace(CONFIG.model, head=head)))
    assert trained.pages["Prediction"].between(0, 100).all()
    assert ("Lower" in trained.pages) == (head == "quantile")


@pytest.mark.slow
@pytest.mark.parametrize(
    "runtime",
    [
        RuntimeConfig(precision="mixed_bfloat16"),
        RuntimeConfig(precision="mixed_float16"),
        RuntimeConfig(xla=True, prefix_cache=False),
        RuntimeConfig(strategy="mirrored"),
    ],
    ids=["bfloat16", "float16", "xla", "mirrored"],
)
def test_each_flag_of_the_machine_trains(pages, runtime):
    trained = run(pages, replace(CONFIG, runtime=runtime))
    assert np.isfinite(trained.pages["Prediction"]).all()


def test_rare_ages_weigh_more():
    weights = lds_weights(np.array([15.0] * 95 + [60.0] * 5))
    assert weights[-1] > 2 * weights[0]
    assert weights.mean() == pytest.approx(1)


def test_batched_heads_are_separate_ones_on_the_same_batches_and_fine_tuning_starts_from_them(pages):
    data, table, part = pages
    rows = np.arange(PAGES)
    other = Part("other", rows >= 8, (rows >= 4) & (rows < 8), rows < 4, fold=2)
    # In a batch that holds all pages, a fold's loss is over the same pages whether others train with it or not.
    frozen = PhaseConfig(epochs=6, learning_rate=0.5, schedule="cosine", warmup=1)
    fine_tune = PhaseConfig(epochs=1, learning_rate=1e-4, unfreeze=0.25)
    training = TrainingConfig(
        frozen, fine_tune, batch_size=PAGES * PATCHES, augment="none", views=1, batched_heads=True
    )
    config = replace(CONFIG, training=training, model=replace(CONFIG.model, dropout=0.0))
    study = Study(config, None, Samples(None, table), data, False)
    heads = train_heads(study, config, [part, other])
    for head, fold in zip(heads, (part, other), strict=True):
        batched = train(config, data, table, fold, head=head, progress=False)
        separate = train(config, data, table, fold, progress=False)
        columns = ["epoch", "loss", "mae", "val_mae", "learning_rate"]
        pd.testing.assert_frame_equal(batched.history[columns], separate.history[columns], rtol=1e-3)
        assert batched.history["phase"].tolist() == ["frozen"] * 6 + ["fine_tune"]
        np.testing.assert_allclose(batched.pages["Prediction"], separate.pages["Prediction"], rtol=1e-3)


@pytest.mark.parametrize("why", ["no cache", "no room"])
def test_batched_heads_are_the_same_without_the_cache(pages, why, monkeypatch):
    data, table, part = pages
    rows = np.arange(PAGES)
    other = Part("other", rows >= 8, (rows >= 4) & (rows < 8), rows < 4, fold=2)
    config = replace(CONFIG, training=replace(CONFIG.training, batched_heads=True))

    def heads(runtime):
        study = Study(replace(config, runtime=runtime), None, Samples(None, table), data, False)
        return train_heads(study, study.config, [part, other])

    cached = heads(RuntimeConfig())
    if why == "no room":
        monkeypatch.setattr(PhaseFeatures, "of", lambda *_: None)
    live = heads(RuntimeConfig(prefix_cache=why == "no room"))
    for one, two in zip(cached, live, strict=True):
        np.testing.assert_allclose(one.kernel, two.kernel, rtol=1e-4, atol=1e-5)
        assert pd.DataFrame(one.history).to_numpy() == pytest.approx(pd.DataFrame(two.history).to_numpy(), rel=1e-5)
        assert one.best_epoch == two.best_epoch


def test_what_cannot_be_batched_is_trained_one_by_one():
    config = replace(CONFIG, training=replace(CONFIG.training, batched_heads=True))
    assert can_batch(config)
    assert not can_batch(replace(config, model=replace(config.model, head="corn")))
    assert not can_batch(replace(config, runtime=RuntimeConfig(strategy="mirrored")))
    assert not can_batch(CONFIG)
