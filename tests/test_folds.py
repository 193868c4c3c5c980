"""Whole writers are dealt to parts, in the fractions asked for."""

import numpy as np

from age_keras.folds import deal


def test_no_writer_is_in_two_parts_and_each_part_has_its_fraction():
    writers = np.random.default_rng(0).integers(0, 200, 3000)
    parts = deal(writers, [0.7, 0.2, 0.1])
    assert all(len(set(parts[writers == writer])) == 1 for writer in range(200))
    np.testing.assert_allclose(np.bincount(parts) / 3000, [0.7, 0.2, 0.1], atol=0.01)


def test_every_part_gets_every_stratum_that_has_writers_enough():
    writers = np.arange(60)
    strata = (writers >= 54).astype(int)
    parts = deal(writers, [1 / 3] * 3, strata=strata)
    assert np.bincount(parts[strata == 1]).tolist() == [2, 2, 2]


def test_the_seed_alone_decides_and_the_order_of_rows_does_not():
    writers = np.repeat([f"w{i}" for i in range(40)], 3)
    parts = deal(writers, [0.5, 0.5], seed=3)
    assert not np.array_equal(parts, deal(writers, [0.5, 0.5], seed=4))
    order = np.random.default_rng(1).permutation(120)
    np.testing.assert_array_equal(deal(writers[order], [0.5, 0.5], seed=3), parts[order])
