"""C-Mixup mixes pages of about the same age; RegMixup adds a mixed batch behind the plain one."""

import numpy as np
import tensorflow as tf

from age_keras.data.batches.mixup import C_MIXUP_BANDWIDTH, mix_batches

N = 64
AGES = np.random.default_rng(0).uniform(10, 60, N).astype(np.float32)
PAGES = 255 * np.eye(N, dtype=np.uint8)[:, None, None]  # A page's only bright channel says which it is.
WEIGHTS = np.linspace(1, 2, N, dtype=np.float32)


def mixed(kind, seed=0):
    batch = tf.data.Dataset.from_tensors((PAGES, AGES[:, None], WEIGHTS))
    x, y, w = next(iter(mix_batches(batch, kind, seed)))
    return x.numpy()[:, 0, 0] / 255, y.numpy()[:, 0], w.numpy()


def partners(parts):
    """Of each mixture the other page, and the fraction of its own: from rows that hold the fraction of every page."""
    own = parts[np.arange(N), np.arange(N)]
    others = parts - np.diag(own)
    np.testing.assert_allclose(parts.sum(axis=1), 1, rtol=1e-5)
    assert (np.count_nonzero(others, axis=1) <= 1).all()
    return others.argmax(axis=1), own


def test_c_mixup_mixes_each_page_with_another_of_about_its_age():
    parts, ages, weights = mixed("c_mixup")
    other, own = partners(parts)
    assert len(parts) == N
    assert (other != np.arange(N)).all()
    assert ((own > 0) & (own < 1)).all()
    apart = np.abs(AGES - AGES[other])
    assert apart.mean() < C_MIXUP_BANDWIDTH < np.abs(AGES[:, None] - AGES).mean() / 2
    assert apart.max() < 4 * C_MIXUP_BANDWIDTH
    np.testing.assert_allclose(ages, own * AGES + (1 - own) * AGES[other], rtol=1e-4)
    np.testing.assert_allclose(weights, own * WEIGHTS + (1 - own) * WEIGHTS[other], rtol=1e-4)


def test_regmixup_keeps_the_batch_and_adds_a_strongly_mixed_one_of_any_ages():
    parts, ages, weights = mixed("regmixup")
    np.testing.assert_array_equal(parts[:N], np.eye(N))
    np.testing.assert_array_equal(ages[:N], AGES)
    assert len(parts) == len(ages) == len(weights) == 2 * N
    own = parts[N:][np.arange(N), np.arange(N)]
    np.testing.assert_allclose(ages[N:], parts[N:] @ AGES, rtol=1e-4)
    np.testing.assert_allclose(weights[N:], parts[N:] @ WEIGHTS, rtol=1e-4)
    really = own < 0.999  # Shuffling leaves a page or two in its place.
    assert really.mean() > 0.9
    assert 0.4 < own[really].mean() < 0.6
    other = (parts[N:] - np.diag(own)).argmax(axis=1)
    assert np.abs(AGES - AGES[other])[really].mean() > 10


def test_the_seed_chooses_the_partners():
    for kind in ("c_mixup", "regmixup"):
        np.testing.assert_array_equal(mixed(kind)[0], mixed(kind)[0])
        assert not np.array_equal(mixed(kind)[0], mixed(kind, seed=1)[0])
