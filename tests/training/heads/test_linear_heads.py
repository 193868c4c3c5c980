"""Heads trained together are the heads trained one by one."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from age_keras.config.age import PhaseConfig
from age_keras.data.batches.pipeline import batch_indices
from age_keras.data.batches.views import epoch_views
from age_keras.prefix.cut import Boundary
from age_keras.prefix.features import Features, View
from age_keras.training.heads.linear import HeadSettings, LinearHeads
from age_keras.training.phases import learning_rate

P, D, VIEWS = 60, 7, 3
KEYS = np.arange(1, P + 1, dtype=np.uint64)
GENERATOR = np.random.default_rng(0)
COPIES = GENERATOR.normal(size=(VIEWS, P, D)).astype("float32")
AGES = (20 + COPIES.mean(axis=0) @ np.arange(D) + GENERATOR.normal(size=P)).astype("float32")
FOLD = np.arange(P) % 3


def store(views):
    slots = np.arange(P)
    views = {number: View([array], slots) for number, array in views.items()}
    return Features((Boundary((D,), "float32"),), views, "float32", 0.0, True, 0)


PLAIN, AUGMENTED = store({None: COPIES.mean(axis=0)}), store(dict(enumerate(COPIES)))


def separately(head, epochs, batch_size):
    """The same head by Keras alone, on the same batches, with sample weights."""
    losses = {"mae": keras.losses.MeanAbsoluteError, "mse": keras.losses.MeanSquaredError}
    loss = losses.get(head.loss, lambda **kw: keras.losses.Huber(delta=5.0, **kw))(reduction="mean_with_sample_weight")
    inputs = keras.Input((D,))
    dense = keras.layers.Dense(1, kernel_initializer="zeros")
    model = keras.Model(inputs, dense(keras.layers.Dropout(head.dropout, seed=head.seed)(inputs)))
    dense.bias.assign([head.bias])
    model.compile(keras.optimizers.Adam(head.phase.learning_rate), loss)
    errors = []
    for epoch in range(epochs):
        order = batch_indices(P, 5, epoch)
        views = epoch_views(KEYS[order], epoch, VIEWS, 5)
        for first in range(0, P, batch_size):
            rows, drawn = order[first : first + batch_size], views[first : first + batch_size]
            weights = np.asarray(head.train, np.float32)[rows]
            model.train_on_batch(COPIES[drawn, rows], AGES[rows, None], sample_weight=weights)
        predicted = model.predict_on_batch(PLAIN.views[None].arrays[0])[:, 0]
        errors.append(np.abs(predicted - AGES)[head.validate].mean())
    return dense.kernel.numpy(), dense.bias.numpy(), errors


def phase(learning_rate=1e-3, **settings):
    return PhaseConfig(
        epochs=30, learning_rate=learning_rate, **{"stop_patience": 100, "schedule": "constant"} | settings
    )


def head(fold, learning_rate=1e-3, **settings):
    own = {"phase": phase(learning_rate), "bias": 18.0} | settings
    return HeadSettings(train=fold != FOLD, validate=fold == FOLD, **own)


def test_heads_together_are_keras_fits_one_by_one():
    heads = [
        head(0, loss="mae", learning_rate=0.05),
        head(1, loss="mse", learning_rate=0.02, dropout=0.0),
        head(2, loss="huber", learning_rate=0.1, dropout=0.3, seed=4),
        head(1, loss="mae", learning_rate=0.05),  # Shares its mask with the first.
    ]
    results = LinearHeads(heads).fit(AUGMENTED, PLAIN, AGES, KEYS, epochs=4, batch_size=16, views=VIEWS, seed=5)
    for settings, result in zip(heads, results, strict=True):
        kernel, bias, errors = separately(settings, 4, 16)
        np.testing.assert_allclose([epoch["val_mae"] for epoch in result.history], errors, rtol=1e-4)
        if result.best_epoch == 3:
            np.testing.assert_allclose(result.kernel, kernel, rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(result.bias, bias, rtol=1e-4)
    assert any(result.best_epoch == 3 for result in results)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_features_of_a_mixed_policy_train_heads_in_float32(dtype):
    """As `--runtime.precision mixed_float16` makes them: the head itself computes in float32."""

    def lower(views):
        return {number: keras.ops.convert_to_numpy(keras.ops.cast(array, dtype)) for number, array in views.items()}

    copies, plain = (lower(views) for views in (dict(enumerate(COPIES)), {None: COPIES.mean(axis=0)}))
    exact = ({number: array.astype("float32") for number, array in views.items()} for views in (copies, plain))
    stores = [
        [replace(store(views), boundary=(Boundary((D,), each),)) for views in pair]
        for pair, each in (((copies, plain), dtype), (exact, "float32"))
    ]
    fit = {"epochs": 3, "batch_size": 16, "views": VIEWS}
    got, wanted = (LinearHeads([head(0, dropout=0.0)]).fit(*each, AGES, KEYS, **fit)[0] for each in stores)
    assert got.kernel.dtype == "float32"
    np.testing.assert_allclose(got.kernel, wanted.kernel, rtol=1e-5)


def test_rows_of_other_folds_do_not_matter():
    spoilt = COPIES.copy()
    spoilt[:, FOLD == 0] = 1e6
    fit = {"epochs": 2, "batch_size": 10, "views": VIEWS}
    clean = LinearHeads([head(0), head(1)]).fit(AUGMENTED, PLAIN, AGES, KEYS, **fit)[0]
    other = LinearHeads([head(0), head(1)]).fit(store(dict(enumerate(spoilt))), PLAIN, AGES, KEYS, **fit)[0]
    np.testing.assert_array_equal(clean.kernel, other.kernel)


def test_weights_weigh():
    doubled = HeadSettings(train=2.0 * (FOLD != 0), validate=FOLD == 0, phase=phase(), bias=18.0)
    fit = {"epochs": 2, "batch_size": 10, "views": VIEWS}
    results = LinearHeads([head(0), doubled]).fit(AUGMENTED, PLAIN, AGES, KEYS, **fit)
    np.testing.assert_allclose(results[0].kernel, results[1].kernel, rtol=1e-5, atol=1e-6)


def test_a_head_stops_alone_and_keeps_its_best_epoch():
    heads = [head(0, phase=phase(30.0, stop_patience=2), dropout=0.0), head(1, learning_rate=1e-3, dropout=0.0)]
    stopped, going = LinearHeads(heads).fit(PLAIN, PLAIN, AGES, KEYS, epochs=30, batch_size=16)
    assert len(stopped.history) == stopped.best_epoch + 3 < len(going.history) == 30
    best = [epoch["val_mae"] for epoch in stopped.history][stopped.best_epoch]
    again = np.abs(stopped.predict(COPIES.mean(axis=0))[:, 0] - AGES)[FOLD == 0].mean()
    assert again == pytest.approx(best, rel=1e-4)


def test_the_learning_rate_falls_on_a_plateau():
    falling = phase(30.0, schedule="plateau", plateau_patience=2)
    (result,) = LinearHeads([head(0, phase=falling, dropout=0.0)]).fit(
        PLAIN, PLAIN, AGES, KEYS, epochs=20, batch_size=16
    )
    rates = [epoch["learning_rate"] for epoch in result.history]
    assert rates[0] == 30.0
    assert rates[-1] < 3.1


def test_each_head_follows_its_own_schedule():
    schedules = [phase(0.1, schedule="cosine", warmup=3), phase(0.1)]
    results = LinearHeads([head(k, phase=each) for k, each in enumerate(schedules)]).fit(
        PLAIN, PLAIN, AGES, KEYS, epochs=30, batch_size=16
    )
    cosine, constant = ([epoch["learning_rate"] for epoch in result.history] for result in results)
    assert cosine == pytest.approx([learning_rate(schedules[0], epoch) for epoch in range(30)])
    assert constant == pytest.approx([0.1] * 30)


def test_no_heads_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        LinearHeads([])


def test_a_block_is_to_the_last_bit_what_it_is_alone():
    blocks = [
        [
            head(fold, learning_rate=0.01 * (block + 1), dropout=(0.5, 0.2, 0.5, 0.0)[block], block=block)
            for fold in range(3)
        ]
        for block in range(4)
    ]
    fit = {"epochs": 5, "batch_size": 16, "views": VIEWS}
    together = LinearHeads([each for block in blocks for each in block]).fit(AUGMENTED, PLAIN, AGES, KEYS, **fit)
    for number, block in enumerate(blocks):
        alone = LinearHeads(block).fit(AUGMENTED, PLAIN, AGES, KEYS, **fit)
        for one, other in zip(alone, together[3 * number : 3 * number + 3], strict=True):
            np.testing.assert_array_equal(one.kernel, other.kernel)
            np.testing.assert_array_equal(one.bias, other.bias)
            assert one.history == other.history


def test_a_head_that_is_lost_does_not_take_the_others_along():
    fit = {"epochs": 2, "batch_size": 16, "views": VIEWS}
    trained, sound = (
        LinearHeads([head(0), head(1, learning_rate=rate)]).fit(AUGMENTED, PLAIN, AGES, KEYS, **fit)
        for rate in (1e38, 0.01)
    )
    np.testing.assert_array_equal(trained[0].kernel, sound[0].kernel)
    assert not np.isfinite(trained[1].history[-1]["val_mae"])
