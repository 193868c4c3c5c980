import threading

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from age_keras.data.batches import counter, warp
from age_keras.data.batches import tone as ink
from age_keras.data.batches.augment import POLICIES, Policy, get_policy
from age_keras.data.batches.views import epoch_views, view_keys
from age_keras.errors import InputError

NAMES = list(POLICIES)


@pytest.fixture(scope="module")
def patches() -> np.ndarray:
    """Twelve patches of strokes on papers of different grey, with ink that crosses the border."""
    rng = np.random.default_rng(0)
    pages = np.empty((12, 96, 96, 1), np.uint8)
    for i, page in enumerate(pages):
        page[:] = 180 + 6 * i
        for _ in range(10):
            start, end = rng.integers(0, 96, (2, 2)).tolist()
            cv2.line(page[:, :, 0], start, end, 30, 2)
    return pages


@pytest.fixture(scope="module")
def keys() -> np.ndarray:
    return view_keys(np.arange(12, dtype=np.uint64), 0, seed=3)


class TestPolicy:
    @pytest.mark.parametrize("name", ["published", "handwriting"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_copy_is_a_function_of_pixels_and_key(self, patches, keys, name, channels):
        policy = get_policy(name)
        patches = np.repeat(patches, channels, axis=-1)
        whole = policy(patches, keys).numpy()
        assert whole.dtype == np.uint8
        assert whole.shape == patches.shape
        order = counter.permutation(12, 5)
        assert np.array_equal(policy(patches[order], keys[order]).numpy(), whole[order])
        for i in range(12):
            assert np.array_equal(policy(patches[i : i + 1], keys[i : i + 1]).numpy()[0], whole[i])

    def test_threads_do_not_matter(self, patches, keys):
        policy, found = get_policy("handwriting"), [None] * 6

        def work(i):
            found[i] = policy.augment(patches, keys)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(found))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(np.array_equal(copy, found[0]) for copy in found)

    @pytest.mark.parametrize("name", ["published", "handwriting"])
    def test_keys_change_the_copy(self, patches, keys, name):
        policy = get_policy(name)
        other = view_keys(np.arange(12, dtype=np.uint64), 1, seed=3)
        differ = policy(patches, keys).numpy() != policy(patches, other).numpy()
        assert (differ.reshape(12, -1).mean(axis=1) > 0.02).all()

    def test_known_copy(self):
        """A stored feature stands for a copy that must not change with a library's version or a machine."""
        patch = np.full((1, 96, 96, 1), 250, np.uint8)
        patch[0, 20:28, 60:68] = 0
        policy = Policy(rotation=15.0, shear=0.1, zoom=0.1, aspect=0.05, translation=0.1, elastic=30.0)
        ink_left = 250.0 - policy(patch, np.array([42])).numpy()[0, :, :, 0]
        middle = [(ink_left.sum(axis=axis) @ np.arange(96)) / ink_left.sum() for axis in (0, 1)]
        assert np.allclose(middle, [70.09, 23.64], atol=0.05)

    @pytest.mark.parametrize("name", NAMES)
    def test_strength_zero_changes_nothing(self, patches, keys, name):
        assert np.array_equal(get_policy(name, strength=0)(patches, keys).numpy(), patches)

    def test_none_changes_nothing(self, patches, keys):
        policy = get_policy("none")
        assert policy.is_identity
        assert np.array_equal(policy(patches, keys).numpy(), patches)

    def test_strength_scales(self, patches, keys):
        def change(strength):
            copies = get_policy("handwriting", strength)(patches, keys).numpy()
            return np.abs(copies.astype(int) - patches).mean()

        assert 0 < change(0.1) < change(1.0) < change(3.0)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_white_paper_stays_nearly_white(self, keys, channels):
        white = np.full((12, 64, 64, channels), 255, np.uint8)
        copies = get_policy("handwriting")(white, keys).numpy()
        assert copies.mean() > 250
        assert copies.min() > 225

    def test_what_is_uncovered_has_the_colour_of_the_paper(self, patches, keys):
        policy = Policy(rotation=45.0, translation=0.3)
        copies = policy(patches, np.arange(12)).numpy()
        for i in range(12):
            values, counts = np.unique(copies[i], return_counts=True)
            assert values[counts.argmax()] == 180 + 6 * i
            assert copies[i].min() >= 30  # Nothing is darker than the ink.

    @pytest.mark.parametrize("name", NAMES)
    def test_reloads_from_its_configuration(self, patches, keys, name):
        policy = get_policy(name, 0.7)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(policy))
        assert again.get_config() == policy.get_config()
        assert np.array_equal(again(patches, keys).numpy(), policy(patches, keys).numpy())

    def test_in_a_graph(self, patches, keys):
        policy = get_policy("handwriting")
        data = tf.data.Dataset.from_tensor_slices((patches, keys)).batch(5).map(policy)
        assert data.element_spec.shape == (None, 96, 96, 1)
        copies = np.concatenate(list(data.as_numpy_iterator()))
        assert np.array_equal(copies, policy(patches, keys).numpy())

    def test_no_patches(self):
        empty = np.empty((0, 32, 32, 1), np.uint8)
        assert get_policy("published")(empty, np.empty(0, np.int64)).shape == (0, 32, 32, 1)

    @pytest.mark.parametrize("shape", [(8, 8), (28, 28), (40, 64), (401, 399)])
    def test_any_size(self, shape):
        patch = np.full((1, *shape, 1), 200, np.uint8)
        patch[:, 3:5, 2:6] = 10
        for name in ("published", "handwriting"):
            assert get_policy(name, 3.0)(patch, np.array([7])).shape == patch.shape

    def test_published_ranges(self):
        ranges = get_policy("published").ranges
        assert (ranges.rotation, ranges.zoom, ranges.brightness) == (15.0, 0.1, 0.1)
        assert (ranges.contrast, ranges.noise) == (0.25, 0.05)

    def test_erasing_leaves_paper(self, patches, keys):
        copies = Policy(erasing=1.0, erasing_side=0.5)(patches, keys).numpy()
        for copy, patch in zip(copies, patches, strict=True):
            changed = copy != patch
            assert changed.sum() == 0 or (copy[changed] == patch.max()).all()
        assert (copies != patches).any()

    def test_unknown_name(self):
        with pytest.raises(InputError, match=r"no augmentation policy 'paper'.*none, published, handwriting"):
            get_policy("paper")

    @pytest.mark.parametrize("strength", [-0.1, 3.5, float("nan"), float("inf")])
    def test_strength_out_of_range(self, strength):
        with pytest.raises(InputError, match="between 0 and 3"):
            get_policy("published", strength)


class TestWarp:
    def test_zoom_and_translation_move_a_dot_where_they_should(self):
        patch = np.full((101, 101), 255, np.uint8)
        patch[48:53, 68:73] = 0  # Around (70, 50): 20 to the right of the middle.
        still = dict.fromkeys(["rotation", "shear", "translation_x", "translation_y"], np.zeros(1))
        still |= {"zoom": np.ones(1), "aspect": np.ones(1)}

        def middle(**change):
            matrix = warp.affine_matrices(101, 101, **{**still, **{k: np.array([v]) for k, v in change.items()}})
            mesh = warp.meshes(101, 101, matrix, np.zeros((1, 2, warp.CELLS + 3, warp.CELLS + 3)))
            places = []
            for copy in (warp.warp(patch, [255], matrix[0], None), warp.warp(patch, [255], None, mesh[0])):
                weight = 255.0 - copy
                y, x = np.mgrid[:101, :101]
                places.append(((x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()))
            assert np.allclose(places[0], places[1], atol=0.1)  # The affine part is the same with a mesh.
            return places[0]

        assert np.allclose(middle(), (70, 50), atol=0.05)
        assert np.allclose(middle(zoom=1.5), (80, 50), atol=0.15)
        assert np.allclose(middle(translation_x=0.1, translation_y=-0.1), (80.1, 39.9), atol=0.15)
        assert np.allclose(middle(rotation=90.0), (50, 30), atol=0.15)  # Counter-clockwise.
        assert np.allclose(middle(shear=0.5), (70, 50), atol=0.15)  # A shear leaves the middle row.

    def test_shear_slants_to_the_right(self):
        patch = np.full((101, 101, 1), 255, np.uint8)
        patch[5:96, 49:52] = 0
        one, zero = np.ones(1), np.zeros(1)
        matrix = warp.affine_matrices(
            101, 101, rotation=zero, shear=0.3 * one, zoom=one, aspect=one, translation_x=zero, translation_y=zero
        )
        copy = 255 - warp.warp(patch[..., 0], [255], matrix[0], None).astype(float)
        x = np.arange(101)
        assert np.isclose((copy[20] @ x) / copy[20].sum(), 50 + 0.3 * 30, atol=0.2)

    def test_elastic_is_smooth_and_bounded(self):
        controls = counter.uniform(np.arange(4), "test", (2, warp.CELLS + 3, warp.CELLS + 3)) * 3
        identity = np.broadcast_to(np.array([[1.0, 0, 0], [0, 1, 0]]), (4, 2, 3))
        move = warp.meshes(200, 200, identity, controls) - warp.meshes(200, 200, identity, 0 * controls)
        assert 0.3 < np.abs(move).max() <= 3
        assert np.abs(np.diff(move, axis=1)).max() < 8  # No fold: nodes stand eight pixels apart.

    def test_border_colour_ignores_ink_on_the_border(self):
        patch = np.full((1, 50, 50, 3), (250, 240, 200), np.uint8)
        patch[:, :10, :30] = 20
        assert warp.border_colour(patch).tolist() == [[250, 240, 200]]


class TestInk:
    def test_thickness(self):
        patch = np.full((40, 40), 250, np.uint8)
        patch[:, 18:22] = 50

        def ink_of(pixels):
            return float((250 - pixels.astype(float))[10].sum() / 200)  # In pixels of full ink.

        assert ink_of(patch) == 4
        assert np.isclose(ink_of(ink.thicken(patch, 0.5)), 5, atol=0.05)
        assert np.isclose(ink_of(ink.thicken(patch, -0.5)), 3, atol=0.05)

    def test_noise_has_its_deviation(self):
        grey = np.full((200, 200), 128, np.uint8)
        assert np.isclose(
            ink.tone(grey, noise=ink.white_noise(grey.shape, 0.3), deviation=12.75).std(), 12.75, rtol=0.05
        )
        texture = ink.paper_texture(grey.shape, np.array([0.2, 0.5, 0.9]))
        assert np.isclose(ink.tone(grey, noise=texture, deviation=10.0).std(), 10, rtol=0.35)

    def test_noise_of_channels_is_independent(self):
        noise = ink.white_noise((200, 200, 3), 0.0).astype(float)
        assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02

    def test_contrast_and_brightness(self):
        grey = np.array([[0, 100, 200, 255]], np.uint8)
        assert ink.tone(grey, contrast=1.5, pivot=200).tolist() == [[0, 50, 200, 255]]
        assert ink.tone(grey, brightness=-20.0).tolist() == [[0, 80, 180, 235]]


class TestKeys:
    def test_numbers_are_uniform_and_streams_independent(self):
        a = counter.uniform(np.arange(20000), "a")
        b = counter.uniform(np.arange(20000), "b")
        assert abs(a.mean()) < 0.02
        assert np.isclose(a.var(), 1 / 3, rtol=0.03)
        assert a.min() >= -1
        assert a.max() < 1
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
        assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.03

    def test_known_values(self):
        """Equal on every machine and with every version of numpy."""
        assert counter.mix(np.array([0])).tolist() == [16294208416658607535]  # SplitMix64's first output, seed 0.
        assert counter.permutation(6, 1, 2).tolist() == [5, 0, 3, 4, 1, 2]
        assert view_keys(np.array([1], np.uint64), 0, 0).tolist() == [3240945917086680547]

    @given(n=st.integers(1, 300), seed=st.integers(-5, 2**40), epoch=st.integers(0, 1000))
    @settings(max_examples=50, deadline=None)
    def test_permutation(self, n, seed, epoch):
        assert sorted(counter.permutation(n, seed, epoch)) == list(range(n))

    @given(views=st.integers(1, 9), first=st.integers(0, 40), seed=st.integers(0, 2**40))
    @settings(max_examples=50, deadline=None)
    def test_every_view_is_used_once_in_turn(self, views, first, seed):
        patch_keys = counter.mix(np.arange(20))
        drawn = np.stack([epoch_views(patch_keys, first + e, views, seed) for e in range(views)])
        assert drawn.dtype == np.int64
        assert all(sorted(column) == list(range(views)) for column in drawn.T)

    def test_patches_start_at_different_views(self):
        counts = np.bincount(epoch_views(counter.mix(np.arange(4000)), 0, 4, 1))
        assert counts.min() > 850

    def test_without_views_every_epoch_is_new(self):
        patch_keys = counter.mix(np.arange(3))
        assert epoch_views(patch_keys, 7, None, 0).tolist() == [7, 7, 7]

    def test_view_keys_differ(self):
        patch_keys = counter.mix(np.arange(50))
        found = {int(k) for view in range(10) for seed in range(3) for k in view_keys(patch_keys, view, seed)}
        assert len(found) == 1500
        each = view_keys(patch_keys, np.arange(50), 1)
        assert each[7] == view_keys(patch_keys, 7, 1)[7]

    def test_no_views(self):
        with pytest.raises(InputError, match="at least 1"):
            epoch_views(np.arange(3, dtype=np.uint64), 0, 0, 0)
