"""The feature cache: never an old feature for anything new, and whole or not there, whatever happens."""

import errno
import os
import signal
import subprocess
import sys
import time
import tracemalloc

import keras
import numpy as np
import pytest

from age_keras.data.batches.augment import Policy, get_policy
from age_keras.data.batches.views import epoch_views, view_keys
from age_keras.prefix import FeatureCache, Features, Wanted, compute, cut_model, feature_files
from age_keras.prefix.compute import BATCH
from age_keras.prefix.feature_files import FeatureFiles

P, SIDE = 40, 12


def build(seed=0, scale=1.0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Conv2D(4, 3, strides=2, name="frozen")(inputs)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(1, name="head_output")(x), name="tiny")
    model.get_layer("frozen").trainable = False
    model.get_layer("frozen").kernel.assign(model.get_layer("frozen").kernel * scale)
    return model


@pytest.fixture
def patches():
    out = np.random.default_rng(0).integers(0, 256, (P, SIDE, SIDE, 1), dtype=np.uint8)
    out.flags.writeable = False
    return out


KEYS = np.arange(100, 100 + P, dtype=np.uint64)


@pytest.fixture
def said():
    return []


@pytest.fixture
def make_cache(tmp_path, said):
    def make(**options):
        return FeatureCache(tmp_path / "features", progress=False, say=said.append, **options)

    return make


def exact(cut, patches):
    return cut.prefix(patches)[0].numpy()


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def test_features_are_those_of_the_prefix_and_are_computed_once(make_cache, patches):
    cut = cut_model(build())
    store = make_cache().features(cut, patches, KEYS)
    assert (store.computed, store.error, store.precision) == (P, 0.0, "float32")
    rows = np.array([7, 3, 3, 39])
    close(store.gather(rows)[0], exact(cut, patches)[rows])
    again = make_cache().features(cut_model(build()), patches, KEYS)
    assert again.computed == 0
    assert np.array_equal(again.gather(rows)[0], store.gather(rows)[0])


def test_folds_add_only_the_rows_that_are_missing(make_cache, patches):
    cut = cut_model(build())
    cache = make_cache()
    assert cache.features(cut, patches, KEYS, rows=np.arange(0, 30)).computed == 30
    store = cache.features(cut, patches, KEYS, rows=np.arange(10, 40))
    assert store.computed == 10
    close(store.gather(np.arange(10, 40))[0], exact(cut, patches)[10:])
    with pytest.raises(KeyError):
        store.gather(np.array([5]))


def test_views_are_the_copies_that_plain_training_draws(make_cache, patches):
    cut, policy = cut_model(build()), get_policy("published")
    store = make_cache().features(cut, patches, KEYS, views=range(3), policy=policy, seed=4)
    rows = np.arange(P)
    views = epoch_views(KEYS, 5, 3, 4)
    copies = policy.augment(patches, view_keys(KEYS, views, 4))
    close(store.gather(rows, views)[0], exact(cut, copies))
    more = make_cache().features(cut, patches, KEYS, views=range(4), policy=policy, seed=4)
    assert more.computed == P


def test_a_policy_that_changes_nothing_needs_one_view(make_cache, patches):
    cut = cut_model(build())
    store = make_cache().features(cut, patches, KEYS, views=range(8), policy=get_policy("none"))
    assert store.computed == P
    assert np.array_equal(store.gather(np.arange(4), np.array([0, 5, 7, 1]))[0], store.gather(np.arange(4))[0])


@pytest.mark.parametrize(
    "change", ["pixel", "key", "weight", "setting", "policy", "class", "version", "seed", "precision"]
)
def test_nothing_old_is_used_for_anything_new(make_cache, patches, change, monkeypatch):
    def computed(model, pixels, keys, policy, seed, dtype="float32"):
        cache = make_cache(dtype=dtype)
        return cache.features(cut_model(model), pixels, keys, views=[0], policy=policy, seed=seed).computed

    policy = get_policy("published")
    assert computed(build(), patches, KEYS, policy, 0) == P
    assert computed(build(), patches, KEYS, policy, 0) == 0
    if change == "pixel":
        other = patches.copy()
        other[3, 0, 0, 0] ^= 1
        assert computed(build(), other, KEYS, policy, 0) == 1
    elif change == "key":
        assert computed(build(), patches, KEYS + np.uint64(1), policy, 0) == P
    elif change == "weight":
        model = build()
        kernel = model.get_layer("frozen").kernel.numpy()
        kernel[0, 0, 0, 0] += 1e-7
        model.get_layer("frozen").kernel.assign(kernel)
        assert computed(model, patches, KEYS, policy, 0) == P
    elif change == "setting":
        model = build()
        model.get_layer("frozen").strides = (1, 1)
        assert computed(model, patches, KEYS, policy, 0) == P
    elif change == "policy":
        assert computed(build(), patches, KEYS, get_policy("published", 0.5), 0) == P
    elif change == "class":

        class Other(Policy):
            pass

        assert computed(build(), patches, KEYS, Other(**get_policy("published").get_config()), 0) == P
    elif change == "version":
        monkeypatch.setattr(compute, "AUGMENT_VERSION", 2)
        assert computed(build(), patches, KEYS, policy, 0) == P
        assert computed(build(), patches, KEYS, None, 0) == P  # Of the patches as they are, which no version changes.
        monkeypatch.undo()
        assert computed(build(), patches, KEYS, None, 0) == 0
    elif change == "seed":
        assert computed(build(), patches, KEYS, policy, 1) == P
    else:
        assert computed(build(), patches, KEYS, policy, 0, "float16") == P


def test_a_pixel_changed_in_place_is_noticed(make_cache, patches):
    writable, cache, cut = patches.copy(), make_cache(), cut_model(build())
    cache.features(cut, writable, KEYS)
    writable[0] ^= 255
    assert cache.features(cut, writable, KEYS).computed == 1


def test_half_precision_reports_its_error(make_cache, patches, said):
    cut = cut_model(build())
    for dtype, bound in (("float16", 2**-11), ("bfloat16", 2**-8)):
        store = make_cache(dtype=dtype).features(cut, patches, KEYS)
        assert store.precision == dtype
        assert 0 < store.error <= bound
        assert store.gather(np.arange(3))[0].dtype == np.float32
        again = make_cache(dtype=dtype).features(cut, patches, KEYS)
        assert (again.computed, again.error) == (0, store.error)
    assert len(said) == 4
    assert all("kept in float16" in sentence for sentence in said[:2])
    assert "at most 0.05 %" in said[0]


def test_half_precision_that_overflows_is_refused_and_said_once(make_cache, patches, said):
    cache, cut = make_cache(dtype="float16"), cut_model(build(scale=1e4))
    for _ in range(2):
        store = cache.features(cut, patches, KEYS)
        assert (store.precision, store.error) == ("float32", 0.0)
        close(store.gather(np.arange(P))[0] / 1e4, exact(cut, patches) / 1e4)
    assert len(said) == 1
    assert "float32" in said[0]


def reducing(by):
    """A machine that computes in a lower precision: its features are off by that fraction."""

    def reduced(model, signature, dtype):
        return lambda *arrays: [tensor.numpy() * np.float32(1 + by) for tensor in model(arrays[0], training=False)]

    return reduced


def test_features_computed_in_a_lower_precision_say_what_it_costs(make_cache, patches, said, monkeypatch, caplog):
    cut = cut_model(build())
    make_cache().features(cut, patches, KEYS)
    monkeypatch.setattr(compute, "in_low_precision", reducing(0.003))
    store = make_cache(computed_in="bfloat16").features(cut, patches, KEYS)
    assert (store.computed, store.computed_in, store.error) == (P, "bfloat16", 0.0)  # Not the exact entry's rows.
    assert store.compute_error == pytest.approx(0.003, rel=0.01)
    assert "0.003" in caplog.text
    monkeypatch.setattr(compute, "in_low_precision", None)
    again = make_cache(computed_in="bfloat16").features(cut, patches, KEYS)
    assert (again.computed, again.compute_error) == (0, store.compute_error)
    assert len(said) == 2
    assert said[0] == said[1]
    assert "at most 0.3 %" in said[0] or "at most 0.4 %" in said[0]
    assert make_cache().features(cut, patches, KEYS).computed == 0


@pytest.mark.parametrize("by", [0.1, np.nan, 0.0], ids=["too far", "not numbers", "not there"])
def test_a_lower_precision_that_is_too_coarse_or_not_there_is_refused_and_said_once(
    make_cache, patches, said, monkeypatch, by
):
    monkeypatch.setattr(compute, "in_low_precision", reducing(by))
    cache, cut = make_cache(computed_in="bfloat16"), cut_model(build())
    for _ in range(2):
        store = cache.features(cut, patches, KEYS)
        assert (store.computed_in, store.compute_error) == ("float32", 0.0)
        close(store.gather(np.arange(P))[0], exact(cut, patches))
    assert len(said) == 1
    assert "float32 instead of bfloat16" in said[0]


def test_what_does_not_fit_memory_is_mapped_from_disk(make_cache, patches):
    cut = cut_model(build())
    store = make_cache(memory_budget=0).features(cut, patches, KEYS)
    assert not store.in_memory
    close(store.gather(np.arange(P))[0], exact(cut, patches))


@pytest.mark.parametrize("damage", ["index", "rows cut", "rows gone"])
def test_a_damaged_cache_is_computed_again(make_cache, patches, said, damage, tmp_path):
    cut = cut_model(build())
    good = make_cache().features(cut, patches, KEYS).gather(np.arange(P))[0]
    (rows,) = (tmp_path / "features").glob("*.bin")
    if damage == "index":
        (tmp_path / "features" / "index.sqlite").write_bytes(np.random.default_rng(0).bytes(20000))
    elif damage == "rows cut":
        os.truncate(rows, 100)
    else:
        rows.unlink()
    store = make_cache().features(cut, patches, KEYS)
    assert store.computed == P
    close(store.gather(np.arange(P))[0], good)
    assert len(said) == (damage == "index")
    assert make_cache().features(cut, patches, KEYS).computed == 0


def full_disk(monkeypatch, after):
    """The disk takes `after` more batches, then is full."""
    sync, left = os.fsync, [after]

    def failing(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(feature_files.os, "fsync", failing)


@pytest.mark.parametrize("after", [0, 1])
def test_a_full_disk_falls_back_to_memory(make_cache, patches, said, monkeypatch, tmp_path, after):
    full_disk(monkeypatch, after)
    cut = cut_model(build())
    store = make_cache().features(cut, patches, KEYS)
    close(store.gather(np.arange(P))[0], exact(cut, patches))
    assert store.computed == P
    assert len(said) == 1
    assert "No space left" in said[0]
    assert "in memory" in said[0]
    monkeypatch.undo()
    assert sum(path.stat().st_size for path in (tmp_path / "features").glob("*.bin")) == after * BATCH * 16
    again = make_cache().features(cut, patches, KEYS)
    assert again.computed == P - after * BATCH
    close(again.gather(np.arange(P))[0], exact(cut, patches))


def test_a_full_disk_and_no_memory_mean_plain_training(make_cache, patches, said, monkeypatch):
    full_disk(monkeypatch, 1)
    assert make_cache(memory_budget=0).features(cut_model(build()), patches, KEYS) is None
    assert len(said) == 1
    assert "whole network" in said[0]


def test_the_least_recently_used_entries_go_first(make_cache, patches, tmp_path):
    computed = [make_cache().features(cut_model(build()), patches, KEYS).computed]
    budget = 2 * P * 16
    for seed in (1, 0, 2, 0, 1):
        computed.append(make_cache(disk_budget=budget).features(cut_model(build(seed)), patches, KEYS).computed)
        time.sleep(0.02)
    assert computed == [P, P, 0, P, 0, P]
    assert sum(entry.bytes for entry in FeatureFiles(tmp_path / "features").entries()) == budget


def test_an_entry_larger_than_the_limit_deletes_nothing(make_cache, patches, said, tmp_path):
    make_cache().features(cut_model(build()), patches, KEYS)
    before = FeatureFiles(tmp_path / "features").entries()
    store = make_cache(disk_budget=10).features(cut_model(build(1)), patches, KEYS)
    assert store.in_memory
    assert FeatureFiles(tmp_path / "features").entries() == before
    assert len(said) == 1


def test_reading_takes_no_more_memory_than_the_features(make_cache, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 1))
    wide = keras.layers.Dense(4000, name="frozen", trainable=False)(keras.layers.Flatten()(inputs))
    cut = cut_model(keras.Model(inputs, keras.layers.Dense(1, name="head_output")(wide)))
    patches = np.random.default_rng(0).integers(0, 256, (2000, SIDE, SIDE, 1), dtype=np.uint8)
    keys, size = np.arange(2000, dtype=np.uint64), 2000 * 4000 * 4
    make_cache(memory_budget=0).features(cut, patches, keys)
    tracemalloc.start()
    held = make_cache().features(cut, patches, keys)
    assert held.in_memory
    assert tracemalloc.get_traced_memory()[1] < 1.3 * size
    del held
    tracemalloc.reset_peak()
    mapped = make_cache(memory_budget=0).features(cut, patches, keys)
    mapped.gather(np.arange(32))
    assert tracemalloc.get_traced_memory()[1] < 0.2 * size
    tracemalloc.stop()


PROCESS = """
import os, sys, time, numpy as np
sys.path.insert(0, {here!r})
from test_feature_cache import build, KEYS, P, SIDE
from age_keras.prefix import FeatureCache, cut_model
from age_keras.prefix.compute import PrefixPass
sync, times = os.fsync, []
def torn(descriptor):
    times.append(descriptor)
    if len(times) != {torn}:
        return sync(descriptor)
    os.truncate(descriptor, os.fstat(descriptor).st_size - {cut})
    print("torn", flush=True)
    time.sleep(60)
os.fsync = torn
compute = PrefixPass.compute
def slow(self, rows, view):
    for i, batch in enumerate(compute(self, rows, view)):
        yield batch
        print("batch", flush=True)
        time.sleep({wait})
PrefixPass.compute = slow
patches = np.random.default_rng(0).integers(0, 256, (P, SIDE, SIDE, 1), dtype=np.uint8)
store = FeatureCache({folder!r}, progress=False, say=print).features(cut_model(build()), patches, KEYS)
print("computed", store.computed, float(store.gather(np.arange(P))[0].sum()), flush=True)
"""


def start(folder, wait, torn=0, cut=0):
    """A process that waits after each batch, or stops while writing batch `torn`, of which `cut` bytes are missing."""
    code = PROCESS.format(here=os.path.dirname(__file__), folder=str(folder), wait=wait, torn=torn, cut=cut)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def test_two_processes_share_one_computation(tmp_path):
    processes = [start(tmp_path / "features", 0.5) for _ in range(2)]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    lines = [next(line for line in out.splitlines() if line.startswith("computed")).split() for out in outputs]
    assert sorted(int(line[1]) for line in lines) == [0, P]
    assert lines[0][2] == lines[1][2]


@pytest.mark.parametrize("missing", [0, 50], ids=["whole", "in part"])
def test_a_process_killed_while_writing_loses_that_batch_alone(tmp_path, make_cache, patches, said, missing):
    process = start(tmp_path / "features", 0, torn=2, cut=missing)
    assert next(line for line in process.stdout if not line.startswith("batch")) == "torn\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    cut = cut_model(build())
    store = make_cache().features(cut, patches, KEYS)
    assert store.computed == P - BATCH
    close(store.gather(np.arange(P))[0], exact(cut, patches))
    assert not said


def test_an_entry_says_what_it_is(make_cache, patches, tmp_path):
    make_cache().features(cut_model(build()), patches, KEYS, views=[2], policy=get_policy("published"), seed=9)
    (entry,) = FeatureFiles(tmp_path / "features").entries()
    assert (entry.facts["model"], entry.facts["view"], entry.facts["seed"]) == ("tiny", 2, 9)
    assert entry.facts["policy"]["rotation"] == 15.0
    assert entry.bytes == P * 16


def test_several_sets_are_all_found_or_none(make_cache, patches, said):
    first, second = (Wanted(cut_model(build(seed)), patches, KEYS) for seed in range(2))
    assert make_cache(memory_budget=0, disk_budget=1000).together([first, second]) is None
    assert len(said) == 1
    assert "AGE_KERAS_CACHE_GB" in said[0]
    found = make_cache(memory_budget=0).together([first, second])
    assert [each.computed for each in found] == [P, P]


def test_signature_fits_what_is_gathered(make_cache, patches):
    store = make_cache().features(cut_model(build()), patches, KEYS)
    assert isinstance(store, Features)
    (spec,), (array,) = store.signature, store.gather(np.arange(5))
    assert spec.shape[1:] == array.shape[1:]
    assert spec.dtype.as_numpy_dtype == array.dtype
