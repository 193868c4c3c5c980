"""The cheapest place to cut a frozen graph: a minimum cut in bytes that moves little work to the trained side."""

from collections import defaultdict, deque
from collections.abc import Collection, Mapping, Sequence

from age_keras.prefix.graph import Call, Graph, Slot

FROZEN, TRAINED = "frozen", "trained"


def boundary_of(graph: Graph, prefix: Collection[Call]) -> list[Slot]:
    """The tensors that cross from `prefix` to the rest of the graph, in the order in which they are computed."""
    inside = set(prefix)
    known = set(graph.inputs).union(*(call.outputs for call in inside))
    used = [slot for call in graph.calls if call not in inside for slot in call.inputs]
    return sorted(known.intersection([*used, *graph.outputs]))


def smallest_cut(
    graph: Graph, frozen: Sequence[Call], flops: Mapping[Call, float], cost: Mapping[Slot, float], budget: float
) -> list[Call]:
    """The part of `frozen` before the cut with the smallest cost that leaves at most `budget` more work behind it.

    Exact as a minimum cut (Ford and Fulkerson 1956) where the budget does not bind. Where it does, work is priced,
    and the price raised until the cut fits (a Lagrangian relaxation). A price moves all branches that are alike, or
    none: what then still fits is moved call by call, each with the calls after it, the one that saves most first. So
    where the budget binds, a cut with fewer bytes may exist, but none that moves one call more.

    Args:
        graph: the whole model.
        frozen: the calls that may stand before the cut: with each, all that it depends on.
        flops: work of each call.
        cost: of a tensor that crosses, in bytes; infinite where it must not cross.
        budget: of work, in the units of `flops`.
    """
    after = _movable(graph, frozen, flops, budget)
    movable = set(after)
    if not movable:
        return list(frozen)
    # A price this small only breaks ties between cuts of equal bytes.
    low, high = 0.5 / (1 + sum(flops[call] for call in movable)), None
    price, best = low, list(frozen)
    for _ in range(40):
        prefix = _priced_cut(graph, frozen, movable, flops, cost, price)
        moved = sum(flops[call] for call in set(frozen).difference(prefix))
        if moved <= budget:
            best, high = prefix, price
            if price == low:
                break
        else:
            low = price
        price = (low * high) ** 0.5 if high else price * 16
        if high and high / low < 1.01:
            break
    return _one_by_one(graph, best, after, flops, cost, budget - sum(flops[c] for c in set(frozen).difference(best)))


def _one_by_one(graph, prefix, after, flops, cost, left) -> list[Call]:
    """Moves one call after the other, with those after it, as long as that fits what is left and saves bytes."""
    while True:
        crossing, best, best_saved = set(boundary_of(graph, prefix)), set(), 0.0
        for call in prefix:
            moved = after.get(call, set()).intersection(prefix)
            made = {slot for each in moved for slot in each.outputs}
            read = {slot for each in moved for slot in each.inputs}.difference(made, crossing)
            saved = sum(cost[slot] for slot in made & crossing) - sum(cost[slot] for slot in read)
            if saved > best_saved and sum(flops[each] for each in moved) <= left:
                best, best_saved = moved, saved
        if not best:
            return prefix
        left -= sum(flops[call] for call in best)
        prefix = [call for call in prefix if call not in best]


def _movable(graph: Graph, frozen: Sequence[Call], flops: Mapping[Call, float], budget: float) -> dict[Call, set[Call]]:
    """The frozen calls that can go behind the cut within the budget, each with itself and the frozen calls after it."""
    inside, movable = set(frozen), {}
    readers = defaultdict(list)
    for call in graph.calls:
        for slot in call.inputs:
            readers[slot].append(call)
    for call in reversed([call for call in graph.calls if call in inside]):
        following = {reader for slot in call.outputs for reader in readers[slot] if reader in inside}
        if following <= movable.keys():
            after = {call}.union(*(movable[reader] for reader in following))
            if sum(flops[each] for each in after) <= budget:
                movable[call] = after
    return movable


def _priced_cut(graph, frozen, movable, flops, cost, price) -> list[Call]:
    capacity: dict = defaultdict(lambda: defaultdict(float))
    producer = dict.fromkeys(graph.inputs, FROZEN)
    inside = set(frozen)

    def side(call):
        return TRAINED if call not in inside else call if call in movable else FROZEN

    for call in graph.calls:
        producer.update(dict.fromkeys(call.outputs, side(call)))
    consumers = [(slot, side(call)) for call in graph.calls for slot in call.inputs]
    for slot, consumer in [*consumers, *((slot, TRAINED) for slot in graph.outputs)]:
        if consumer == FROZEN or producer[slot] == TRAINED:
            continue
        capacity[producer[slot]][slot] = cost[slot]
        capacity[slot][consumer] = float("inf")
        if isinstance(producer[slot], Call):  # What the trained side computes, the frozen side cannot read.
            capacity[consumer][producer[slot]] = float("inf")
    for call in movable:
        capacity[FROZEN][call] += price * flops[call]
    reached = _frozen_side(capacity)
    return [call for call in frozen if call not in movable or call in reached]


def _frozen_side(capacity) -> set:
    """The nodes on the frozen side of a minimum cut, by augmenting along shortest paths (Edmonds and Karp 1972)."""
    while True:
        previous, queue = {FROZEN: None}, deque([FROZEN])
        while queue and TRAINED not in previous:
            node = queue.popleft()
            for following, left in capacity[node].items():
                if left > 1e-9 and following not in previous:
                    previous[following] = node
                    queue.append(following)
        if TRAINED not in previous:
            return set(previous)
        path, node = [], TRAINED
        while previous[node] is not None:
            path.append((previous[node], node))
            node = previous[node]
        flow = min(capacity[a][b] for a, b in path)
        if flow == float("inf"):  # Nothing finite separates the two sides.
            return {FROZEN}.union(n for n in capacity if n != TRAINED)
        for a, b in path:
            capacity[a][b] -= flow
            capacity[b][a] += flow
