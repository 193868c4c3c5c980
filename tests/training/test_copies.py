"""How many augmented copies a phase draws: by time, and by a room that is the same on every machine."""

from types import SimpleNamespace

import pytest

from age_keras.config.age import PhaseConfig, TrainingConfig
from age_keras.prefix.cut import Boundary
from age_keras.training.copies import MOST_BYTES, choose_views

PHASE = PhaseConfig(epochs=10, learning_rate=1e-4, unfreeze=0.25)


def split(elements, dtype="float32", share=0.4):
    return SimpleNamespace(prefix="some", suffix_fraction=share, boundary=(Boundary((elements,), dtype),))


def views(elements, patches=6000, dtype="float32", **training):
    return choose_views(TrainingConfig(**training), PHASE, split(elements, dtype), patches)


@pytest.mark.parametrize(
    ("elements", "copies"), [(2048, 8), (200_000, 2), (MOST_BYTES // 6000 // 4 // 2, 1), (400_000, None)]
)
def test_auto_draws_as_many_copies_as_have_room(elements, copies):
    assert views(elements) == copies
    assert views(elements, dtype="float16") == copies  # A precision of the machine's side changes nothing.
    if copies:
        assert (copies + 1) * 6000 * 4 * elements <= MOST_BYTES


def test_a_number_that_is_asked_for_is_kept():
    assert views(400_000, views=8) == 8
    assert views(400_000, views="inf") is None
    assert views(400_000, augment="none") == 1
