"""The feature cache under others: entries that vanish, a limit that is tight, stores of one training side by side."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from age_keras.config.age import AgeConfig, PhaseConfig, TrainingConfig
from age_keras.prefix import FeatureCache, Wanted, cut_model
from age_keras.prefix.compute import PrefixPass
from age_keras.prefix.feature_files import FeatureFiles
from age_keras.training.feeds import PhaseFeatures
from age_keras.training.phases import Phase

P, SIDE = 40, 12
KEYS = np.arange(P, dtype=np.uint64)
PATCHES = np.random.default_rng(0).integers(0, 256, (P, SIDE, SIDE, 1), dtype=np.uint8)
PATCHES.flags.writeable = False


def tiny(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((SIDE, SIDE, 1))
    frozen = keras.layers.Conv2D(4, 3, strides=2, name="frozen", trainable=False)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(frozen)
    return cut_model(keras.Model(inputs, keras.layers.Dense(1, name="head_output")(x), name="tiny"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "features"


@pytest.fixture
def make_cache(folder):
    said = []
    return lambda **options: FeatureCache(folder, progress=False, say=said.append, **options)


def entries(folder):
    return FeatureFiles(folder).entries()


def right(store, cut):
    expected = cut.prefix(PATCHES)[0].numpy()
    np.testing.assert_allclose(store.gather(np.arange(P))[0], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("memory", [None, 0], ids=["in memory", "mapped"])
@pytest.mark.parametrize("there", [P, 10], ids=["whole", "in part"])
@pytest.mark.parametrize("anew", [False, True], ids=["gone", "made anew"])
@pytest.mark.parametrize("reads", [1, 2])
def test_an_entry_that_vanishes_after_it_was_found_is_no_error(
    make_cache, folder, monkeypatch, memory, there, anew, reads
):
    cut, left = tiny(), [reads]
    make_cache().features(cut, PATCHES, KEYS, rows=np.arange(there))
    rows = FeatureFiles.rows

    def vanishing(self, *args):
        found = rows(self, *args)
        left[0] -= 1
        if left[0] == 0:
            (entry,) = self.entries()
            assert self.remove(entry)
            if anew:  # By another process, with its rows in another order.
                make_cache().features(cut, PATCHES[::-1].copy(), KEYS[::-1], rows=np.arange(20))
        return found

    monkeypatch.setattr(FeatureFiles, "rows", vanishing)
    store = make_cache(memory_budget=memory).features(cut, PATCHES, KEYS)
    right(store, cut)
    assert make_cache().features(cut, PATCHES, KEYS).computed in (0, P, P - 20)


def test_what_was_just_computed_cannot_be_deleted_before_it_is_mapped(make_cache, folder, monkeypatch):
    cut, rows, removed = tiny(), FeatureFiles.rows, []

    def read(self, *args):
        removed.extend(self.remove(entry) for entry in self.entries())
        return rows(self, *args)

    monkeypatch.setattr(FeatureFiles, "rows", read)
    store = make_cache(memory_budget=0).features(cut, PATCHES, KEYS)
    assert removed == [False]  # By another process, while this one still has the lock.
    right(store, cut)


def test_what_a_training_uses_does_not_go_for_what_it_uses_next(make_cache, folder):
    for seed in range(2):
        make_cache().features(tiny(seed), PATCHES, KEYS)
    cache = make_cache(disk_budget=2 * P * 16)
    assert cache.features(tiny(0), PATCHES, KEYS).computed == 0
    # The next takes the room of what nobody here uses; then there is none left, but in memory.
    assert cache.features(tiny(2), PATCHES, KEYS).computed == P
    assert cache.features(tiny(3), PATCHES, KEYS).in_memory
    kept = make_cache()
    assert [kept.features(tiny(seed), PATCHES, KEYS).computed for seed in (0, 2)] == [0, 0]


@pytest.mark.parametrize("spare", [-1, 0, 200, 1100])
def test_the_limit_is_kept_to_the_byte(make_cache, folder, spare):
    limit = 2 * P * 16 + spare
    for seed in (0, 1, 2, 0, 1):
        make_cache(disk_budget=limit).features(tiny(seed), PATCHES, KEYS)
        assert sum(path.stat().st_size for path in folder.glob("*.bin")) <= limit


def phase(cache, views, augment="published"):
    config = AgeConfig(training=TrainingConfig(augment=augment))
    store = SimpleNamespace(patches=PATCHES, keys=KEYS)
    wanted = Phase(0, PhaseConfig(1, 1e-3), 0, tiny(), views)
    return PhaseFeatures(cache, store, config, np.arange(30), np.arange(30, 40), ""), wanted


def test_nothing_is_computed_where_the_whole_training_has_no_room(folder, monkeypatch):
    said, computed = [], []
    monkeypatch.setattr(PrefixPass, "compute", lambda self, rows, view: computed.append(view))
    cache = FeatureCache(folder, progress=False, say=said.append, memory_budget=0, disk_budget=1000)
    features, wanted = phase(cache, views=2)
    assert features.of(wanted) is None
    assert computed == []
    assert len(said) == 1
    assert "AGE_KERAS_CACHE_GB" in said[0]


def test_what_fits_memory_takes_no_disk_that_another_set_needs(make_cache, folder):
    """The copies fit memory, the patches as they are do not; the disk has room for one of both."""
    cache = make_cache(memory_budget=30 * 16 + 8, disk_budget=500)
    features, wanted = phase(cache, views=1)
    copies, plain = features.of(wanted)
    assert (copies.in_memory, plain.in_memory) == (True, False)
    assert [entry.bytes for entry in entries(folder)] == [10 * 16]
    expected = tiny().prefix(PATCHES[30:])[0].numpy()
    np.testing.assert_allclose(plain.gather(np.arange(30, 40))[0], expected, rtol=1e-5, atol=1e-4)


def test_features_of_a_training_share_its_memory(make_cache):
    cache = make_cache(memory_budget=P * 16 + 8)
    first = cache.features(tiny(0), PATCHES, KEYS)
    second = cache.features(tiny(1), PATCHES, KEYS)
    assert (first.in_memory, second.in_memory) == (True, False)
    right(second, tiny(1))
    del first
    assert cache.features(tiny(2), PATCHES, KEYS).in_memory


@pytest.mark.parametrize("place", ["a file", "under a file"])
def test_a_folder_that_cannot_be_made_means_memory(tmp_path, place):
    said = []
    (tmp_path / "file").write_bytes(b"")
    folder = tmp_path / "file" if place == "a file" else tmp_path / "file" / "features"
    store = FeatureCache(folder, progress=False, say=said.append).features(tiny(), PATCHES, KEYS)
    assert store.in_memory
    right(store, tiny())
    reason = "File exists" if place == "a file" else "Not a directory"
    assert said == [f"0.0 GB of features cannot be written ({reason}): they are kept in memory for this run."]
    said.clear()
    cache = FeatureCache(folder, progress=False, say=said.append, memory_budget=0)
    assert cache.together([Wanted(tiny(), PATCHES, KEYS)]) is None
    assert len(said) == 1
    assert f"({reason}): they are not used" in said[0]
