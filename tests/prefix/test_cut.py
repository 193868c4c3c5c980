"""The cut against all cuts there are, on graphs small enough to try them."""

import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from age_keras.prefix.cut import cut_model
from age_keras.prefix.graph import Call
from age_keras.prefix.smallest import boundary_of, smallest_cut

FROZEN = 8


def random_graph(seed):
    """Calls that read one or two tensors before them; the last of them is trained and reads all that nobody read."""
    rng = np.random.default_rng(seed)
    calls, unread = [], {0}
    for slot in range(1, FROZEN + 1):
        given = rng.choice(slot, size=min(slot, rng.integers(1, 3)), replace=False).tolist()
        calls.append(Call(None, None, tuple((None, each) for each in given), (slot,)))
        unread = (unread - set(given)) | {slot}
    last = Call(None, None, tuple((None, each) for each in sorted(unread)), (FROZEN + 1,))
    graph = SimpleNamespace(calls=(*calls, last), inputs=(0,), outputs=(FROZEN + 1,))
    flops = {call: float(rng.integers(0, 20)) for call in graph.calls}
    cost = {slot: float(rng.integers(1, 50)) for slot in range(FROZEN + 2)}
    return graph, calls, flops, cost, float(rng.integers(5, 60))


def size(graph, prefix, cost):
    return sum(cost[slot] for slot in boundary_of(graph, prefix))


def made_by(calls):
    return {0}.union(*(call.outputs for call in calls))


def all_cuts(graph, frozen, flops, budget):
    for kept in itertools.product([False, True], repeat=len(frozen)):
        prefix = [call for call, keep in zip(frozen, kept, strict=True) if keep]
        work = sum(flops[call] for call in frozen if call not in prefix)
        if work <= budget and all(made_by(prefix).issuperset(call.inputs) for call in prefix):
            yield prefix


@pytest.mark.parametrize("bound", [True, False], ids=["a budget", "no budget"])
def test_the_cut_fits_and_is_nearly_always_the_smallest(bound):
    ratios = []
    for seed in range(60):
        graph, frozen, flops, cost, budget = random_graph(seed)
        budget = budget if bound else 1e6
        prefix = smallest_cut(graph, frozen, flops, cost, budget)
        cuts = list(all_cuts(graph, frozen, flops, budget))
        assert prefix in cuts
        for call in prefix:  # Nor does one call more, with those after it, make it smaller.
            fewer = set(prefix) - {call}
            while later := {each for each in fewer if any(s not in made_by(fewer) for s in each.inputs)}:
                fewer -= later
            more = [each for each in prefix if each in fewer]
            assert more not in cuts or size(graph, more, cost) >= size(graph, prefix, cost)
        ratios.append(size(graph, prefix, cost) / min(size(graph, cut, cost) for cut in cuts))
    assert min(ratios) == 1
    if not bound:
        assert max(ratios) == 1
    assert np.mean(np.array(ratios) == 1) >= 0.9
    assert np.mean(ratios) < 1.02


def test_one_of_two_branches_that_are_alike_is_moved_where_both_do_not_fit():
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    branches = [
        layers.Conv2D(64, 1, name=f"wide{i}")(
            layers.Conv2D(4, 5, padding="same", name=f"narrow{i}")(inputs),
        )
        for i in range(2)
    ]
    x = layers.Conv2D(6, 3, padding="same", name="trained")(layers.Concatenate(name="join")(branches))
    model = keras.Model(inputs, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))
    for name in ("narrow0", "narrow1", "wide0", "wide1"):
        model.get_layer(name).trainable = False
    exact, cut = cut_model(model, slack=0.0), cut_model(model, slack=0.02)
    assert cut.bytes_per_example == 4 * 32 * 32 * (4 + 64) < exact.bytes_per_example
    assert cut.suffix_fraction <= exact.suffix_fraction * 1.06
