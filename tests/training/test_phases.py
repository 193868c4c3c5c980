"""What is decided of each phase before anything is trained: views, learning rates, patience, variables that move."""

from types import SimpleNamespace

import pytest

from age_keras.config.age import AgeConfig, PhaseConfig, RuntimeConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.prefix.cut import Boundary
from age_keras.training.model_pool import ModelPool
from age_keras.training.phases import MOST_BYTES, PhasePlan, choose_views, learning_rate, patience

PHASE = PhaseConfig(epochs=10, learning_rate=1e-4, unfreeze=0.25)


def cut(elements, dtype="float32", fraction=0.4):
    return SimpleNamespace(prefix="some", suffix_fraction=fraction, boundary=(Boundary((elements,), dtype),))


def views(elements, patches=6000, dtype="float32", **training):
    return choose_views(TrainingConfig(**training), PHASE, cut(elements, dtype), patches)


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


def test_an_epoch_has_the_rate_of_its_start_and_the_cosine_is_zero_after_the_last():
    phase = PhaseConfig(epochs=10, learning_rate=2.0, schedule="cosine", warmup=2)
    rates = [learning_rate(phase, epoch, factor=0.5) for epoch in range(11)]
    assert rates[:3] == pytest.approx([0.1, 0.55, 1.0])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.0381, abs=1e-4)
    assert rates[10] == pytest.approx(0, abs=1e-12)


def test_only_a_schedule_of_plateaus_lowers_the_rate_on_them():
    assert patience(PHASE)["plateau_patience"] == 5
    assert patience(PhaseConfig(1, 1.0, schedule="cosine"))["plateau_patience"] is None


def plan(frozen, fine_tune, **runtime):
    config = AgeConfig(
        backbones=("resnet10",),
        model=ModelConfig(weights="none", batch_norm="inference"),
        training=TrainingConfig(frozen=frozen, fine_tune=fine_tune, views=2),
        runtime=RuntimeConfig(**runtime),
    )
    return PhasePlan(ModelPool().get(config, 32, 1), config, patches=10)


def test_the_plan_knows_both_phases_before_the_first_begins():
    planned = plan(PhaseConfig(3, 1e-3), PhaseConfig(2, 1e-4, unfreeze=0.5))
    frozen, fine_tune = planned.phases
    assert [(p.name, p.first_epoch, p.views) for p in planned.phases] == [("frozen", 0, 2), ("fine_tune", 3, 2)]
    assert frozen.cut.suffix_fraction < fine_tune.cut.suffix_fraction < 1
    assert planned.ahead(frozen) is fine_tune
    assert planned.ahead(fine_tune) is None
    head = {v.path for v in planned.begin(frozen)}
    assert {"head_output/kernel", "head_output/bias"} <= head
    assert head < {v.path for v in planned.begin(fine_tune)}
    assert planned.age.trained.trainable_variables[-1].path == "head_output/bias"


def test_a_phase_without_epochs_is_none_and_without_a_cache_nothing_is_computed_ahead():
    planned = plan(PhaseConfig(0, 1e-3), PhaseConfig(2, 1e-4, unfreeze=0.5))
    assert [(p.name, p.first_epoch) for p in planned.phases] == [("fine_tune", 0)]
    for runtime in ({"prefix_cache": False}, {"strategy": "mirrored"}):
        planned = plan(PhaseConfig(3, 1e-3), PhaseConfig(2, 1e-4, unfreeze=0.5), **runtime)
        assert not planned.caches(planned.phases[0])
        assert planned.ahead(planned.phases[0]) is None
    whole = plan(PhaseConfig(3, 1e-3), PhaseConfig(2, 1e-4, unfreeze=1.0))
    assert whole.ahead(whole.phases[0]) is None


def test_what_an_earlier_phase_unfroze_is_kept_with_a_later_ones_variables():
    planned = plan(PhaseConfig(1, 1e-3, unfreeze=0.5), PhaseConfig(1, 1e-4, unfreeze=0.0))
    first, second = ({v.path for v in planned.begin(phase)} for phase in planned.phases)
    assert first == second
    assert {v.path for v in planned.age.trained.trainable_variables} == {"head_output/kernel", "head_output/bias"}
