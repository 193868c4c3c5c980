import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from age_keras.data.batches import counter
from age_keras.data.batches.augment import get_policy
from age_keras.data.batches.pipeline import batch_indices, batches, row_batches, steps
from age_keras.data.batches.views import epoch_views, view_keys
from age_keras.data.patches.row_reader import RowReader
from age_keras.errors import InputError

P, SIDE = 23, 12


@pytest.fixture
def store(tmp_path):
    """A memory map of patches whose pixels tell their row, with targets and keys."""
    patches = np.lib.format.open_memmap(tmp_path / "patches.npy", "w+", np.uint8, (P, SIDE, SIDE, 1))
    patches[:] = np.arange(P, dtype=np.uint8)[:, None, None, None] * 10
    patches.flush()
    return np.load(tmp_path / "patches.npy", mmap_mode="r"), np.arange(P) * 1.0, counter.mix(np.arange(P))


def drawn(dataset) -> list[np.ndarray]:
    """All batches, each part joined."""
    return [np.concatenate(part) for part in zip(*dataset.as_numpy_iterator(), strict=True)]


class TestBatches:
    def test_pixels_stay_with_their_targets(self, store):
        x, y = drawn(batches(*store, batch_size=5, shuffle=True, epochs=3))
        assert x.dtype == np.uint8
        assert y.dtype == np.float32
        assert x.shape == (3 * P, SIDE, SIDE, 1)
        assert np.array_equal(x[:, 0, 0, 0], y * 10)

    def test_each_epoch_is_a_new_order_of_everything(self, store):
        _, y = drawn(batches(*store, batch_size=5, shuffle=True, seed=4, epochs=3))
        orders = y.reshape(3, P)
        assert all(sorted(order) == list(range(P)) for order in orders)
        assert not np.array_equal(orders[0], orders[1])
        assert not np.array_equal(orders[1], orders[2])
        for epoch, order in enumerate(orders):
            assert np.array_equal(order, batch_indices(P, 4, epoch))

    def test_without_shuffling_rows_come_as_they_stand(self, store):
        _, y = drawn(batches(*store, batch_size=4, shuffle=False, epochs=2))
        assert np.array_equal(y, np.tile(np.arange(P), 2))

    def test_same_seed_same_bits(self, store):
        def make(seed):
            return drawn(
                batches(*store, batch_size=4, shuffle=True, policy=get_policy("handwriting"), seed=seed, epochs=2)
            )

        first, second, other = make(1), make(1), make(2)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert not np.array_equal(first[1], other[1])

    def test_a_resumed_run_sees_what_an_uninterrupted_one_would(self, store):
        def make(first_epoch):
            policy = get_policy("published")
            return drawn(
                batches(*store, batch_size=4, shuffle=True, policy=policy, views=3, first_epoch=first_epoch, epochs=5)
            )

        for whole, resumed in zip(make(0), make(3), strict=True):
            assert np.array_equal(whole[3 * P :], resumed)

    def test_nothing_is_left_after_the_last_epoch(self, store):
        assert list(batches(*store, batch_size=4, shuffle=False, first_epoch=2, epochs=2)) == []

    def test_copies_are_those_of_the_epoch_view(self, store):
        patches, _, keys = store
        policy = get_policy("published")
        x, y = drawn(batches(*store, batch_size=6, shuffle=True, policy=policy, views=2, seed=9, epochs=3))
        for epoch in range(3):
            part = slice(epoch * P, (epoch + 1) * P)
            rows = y[part].astype(int)
            view = epoch_views(keys[rows], epoch, 2, 9)
            assert np.array_equal(x[part], policy(patches[rows], view_keys(keys[rows], view, 9)).numpy())

    def test_views_come_back_after_as_many_epochs(self, store):
        x, y = drawn(batches(*store, batch_size=6, shuffle=True, policy=get_policy("published"), views=2, epochs=4))
        by_row = [x[e * P : (e + 1) * P][np.argsort(y[e * P : (e + 1) * P])] for e in range(4)]
        assert np.array_equal(by_row[0], by_row[2])
        assert np.array_equal(by_row[1], by_row[3])
        assert not np.array_equal(by_row[0], by_row[1])

    def test_a_fold_by_its_rows(self, store):
        rows = np.array([20, 3, 11, 7])
        x, y = drawn(batches(*store, batch_size=3, shuffle=False, epochs=1, indices=rows))
        assert y.tolist() == [20, 3, 11, 7]
        assert np.array_equal(x[:, 0, 0, 0], y * 10)
        _, y = drawn(batches(*store, batch_size=3, shuffle=True, epochs=1, indices=rows))
        assert sorted(y) == [3, 7, 11, 20]

    def test_a_fold_has_the_same_copies_as_the_whole(self, store):
        policy = get_policy("published")
        x, _ = drawn(batches(*store, batch_size=3, shuffle=False, policy=policy, epochs=1))
        rows = np.array([2, 19, 5])
        fold, _ = drawn(batches(*store, batch_size=2, shuffle=False, policy=policy, epochs=1, indices=rows))
        assert np.array_equal(fold, x[rows])

    def test_last_batch(self, store):
        sizes = [len(y) for _, y in batches(*store, batch_size=10, shuffle=True, epochs=1)]
        assert sizes == [10, 10, 3]
        assert steps(P, 10) == 3
        full = batches(*store, batch_size=10, shuffle=True, epochs=2, drop_remainder=True)
        assert [len(y) for _, y in full] == [10] * 4
        assert full.element_spec[0].shape == (10, SIDE, SIDE, 1)
        assert steps(P, 10, drop_remainder=True) == 2

    def test_without_end(self, store):
        endless = batches(*store, batch_size=10, shuffle=True)
        assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
        assert len(list(endless.take(10))) == 10

    def test_weights_and_wide_targets(self, store):
        patches, y, keys = store
        targets = np.stack([y, y + 0.5], axis=1)
        x, found, weight = drawn(batches(patches, targets, keys, batch_size=5, shuffle=True, weights=y * 2, epochs=1))
        assert found.shape == (P, 2)
        assert np.array_equal(found[:, 1], x[:, 0, 0, 0] / 10 + 0.5)
        assert weight.dtype == np.float32
        assert np.array_equal(weight, found[:, 0] * 2)

    def test_classes_stay_whole_numbers(self, store):
        patches, y, keys = store
        _, found = drawn(batches(patches, y.astype(np.int32), keys, batch_size=5, shuffle=False, epochs=1))
        assert found.dtype == np.int32

    def test_the_store_does_not_go_into_the_graph(self, tmp_path):
        big = np.memmap(tmp_path / "big", np.uint8, "w+", shape=(2000, 64, 64, 1))
        dataset = batches(big, np.zeros(2000), np.arange(2000, dtype=np.uint64), batch_size=8, shuffle=True)
        graph = dataset._as_serialized_graph(external_state_policy=None, allow_stateful=True)
        assert len(graph.numpy()) < 100_000

    def test_fit(self, store):
        model = keras.Sequential([keras.Input((SIDE, SIDE, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        model.compile("sgd", "mae")
        train = batches(*store, batch_size=8, shuffle=True, policy=get_policy("handwriting"))
        history = model.fit(train, steps_per_epoch=steps(P, 8), epochs=2, verbose=0)
        assert len(history.history["loss"]) == 2

    def test_wrong_length(self, store):
        patches, y, keys = store
        with pytest.raises(ValueError, match="`targets` must have a row for each patch"):
            batches(patches, y[:-1], keys, batch_size=4, shuffle=False)
        with pytest.raises(ValueError, match="`keys` must"):
            batches(patches, y, keys[:-1], batch_size=4, shuffle=False)

    def test_too_few_patches(self, store):
        with pytest.raises(InputError, match="23 patches, too few for one batch of 24"):
            batches(*store, batch_size=24, shuffle=True, drop_remainder=True)
        with pytest.raises(InputError, match="There are 0 patches"):
            batches(*store, batch_size=4, shuffle=True, indices=[])

    def test_wrong_batch_size_and_views(self, store):
        with pytest.raises(InputError, match="batch size must be at least 1"):
            batches(*store, batch_size=0, shuffle=True)
        with pytest.raises(InputError, match="views must be at least 1"):
            batches(*store, batch_size=4, shuffle=True, views=0)

    def test_rows_out_of_range(self, store):
        with pytest.raises(ValueError, match="`indices`"):
            batches(*store, batch_size=4, shuffle=True, indices=[P])


def numbers(keys, **order):
    """The rows, views and keys that batches are made of."""
    return row_batches(lambda *numbers: numbers, [tf.TensorSpec((None,), tf.int64)] * 3, keys, **order)


class TestRowBatches:
    def test_draws_the_rows_views_and_keys_that_batches_draws(self, store):
        _, _, keys = store
        order = {"batch_size": 5, "shuffle": True, "seed": 6, "views": 3, "epochs": 2, "indices": np.arange(0, P, 2)}
        rows, view, key = drawn(numbers(keys, **order))
        _, y = drawn(batches(*store, **order))
        assert np.array_equal(rows, y)
        assert np.array_equal(key, view_keys(keys[rows], view, 6))
        n = len(rows) // 2
        assert np.array_equal(view[:n], epoch_views(keys[rows[:n]], 0, 3, 6))
        assert np.array_equal(view[n:], epoch_views(keys[rows[n:]], 1, 3, 6))

    def test_features(self, store):
        _, _, keys = store
        small, large = np.random.default_rng(0).random((2, P, 3, 4), np.float32)
        signature = [tf.TensorSpec((None, 4), tf.float32), tf.TensorSpec((None, 4), tf.float32)]
        order = {"batch_size": 5, "shuffle": True, "views": 3, "epochs": 1}

        def fetch(rows, view, _key):
            return small[rows, view], large[rows, view]

        dataset = row_batches(fetch, signature, keys, transform=lambda a, b: {"a": a, "b": b}, **order)
        found = np.concatenate([batch["b"] for batch in dataset.as_numpy_iterator()])
        rows, view, _ = drawn(numbers(keys, **order))
        assert np.array_equal(found, large[rows, view])


class TestRowReader:
    def test_reads_rows_of_maps_views_and_arrays(self, store, tmp_path):
        rows = np.array([7, 2, 2, 22, 0])
        floats = np.memmap(tmp_path / "floats", np.float32, "w+", offset=40, shape=(P, 3, 5))
        floats[:] = np.random.default_rng(0).random(floats.shape)
        for array in (store[0], store[0][1:], store[0][:, ::2], np.array(store[0]), floats):
            rows = rows % len(array)
            assert np.array_equal(RowReader(array)(rows), array[rows])
            assert RowReader(array)(rows[:0]).shape == (0, *array.shape[1:])

    def test_rows_without_extent(self, tmp_path):
        ages = np.memmap(tmp_path / "ages", np.float32, "w+", shape=(4,))
        ages[:] = [1, 2, 3, 4]
        assert RowReader(ages)(np.array([3, 1])).tolist() == [4, 2]

    def test_a_file_that_was_cut_short(self, store):
        with open(store[0].filename, "r+b") as file:
            file.truncate(128 + 3 * SIDE**2)
        reader = RowReader(store[0])
        assert reader(np.array([2]))[0, 0, 0, 0] == 20
        with pytest.raises(OSError, match="cut short"):
            reader(np.array([3]))


@pytest.mark.slow
def test_two_replicas_share_the_batches():
    """Under MirroredStrategy each batch is split over the replicas: weights equal those of one device."""
    script = """
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        from age_keras.data.batches.augment import get_policy
        from age_keras.data.batches.pipeline import batches, steps
        patches = np.random.default_rng(0).integers(0, 256, (22, 8, 8, 1), np.uint8)
        found = []
        for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
            keras.utils.set_random_seed(0)
            with tf.distribute.MirroredStrategy(devices).scope():
                layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Rescaling(1 / 255)]
                model = keras.Sequential([*layers, keras.layers.Dense(1)])
                model.compile(keras.optimizers.SGD(0.01), "mse")
            data = batches(patches, np.arange(22.0), np.arange(22, dtype=np.uint64), batch_size=4, shuffle=True,
                           policy=get_policy("handwriting"), drop_remainder=True)
            model.fit(data, steps_per_epoch=steps(22, 4, True), epochs=2, verbose=0)
            found.append(np.concatenate([w.ravel() for w in model.get_weights()]))
        assert np.abs(found[0] - found[1]).max() < 1e-5, np.abs(found[0] - found[1]).max()
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
