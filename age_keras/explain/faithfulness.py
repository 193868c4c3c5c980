"""Which maps deserve belief: four tests of a method on a model, each with what chance would give.

Deletion and insertion after Petsiuk et al. 2018 (RISE, arXiv:1806.07421), with ink erased to paper colour, since black
squares are no page that a model ever saw; the sanity check of Adebayo et al. 2018 (arXiv:1810.03292); shifts after
Kindermans et al. 2017 (arXiv:1711.00867).
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import keras
import numpy as np
from tabulate import tabulate

from age_keras.data.patches.ink import ink_mask
from age_keras.explain.cam import SIGNED, Explainer, Method
from age_keras.explain.page_figure import TITLES

BLOCKS = 12  # Places across a patch, erased one after the other.
STEPS = 10
RANDOM_ORDERS = 3
RANDOMISED, STABLE = 0.5, 0.5  # A map is doubted above and below these correlations.


@dataclass(frozen=True)
class Faithfulness:
    """How a method's maps of a model did.

    Attributes:
        backbone, method: Names.
        deletion: Years that the answer falls below erasing in random order when what looks older goes first; the mean
            over the steps and patches. For attention: how much farther the answer moves, either way. Chance is 0.
        insertion: Years that the answer rises above inserting in random order when what looks older comes first.
        deletion_error, insertion_error: Standard errors over the patches.
        ink_fraction: Fraction of the map that lies on ink.
        ink_area: Fraction of the patches that is ink, which is what chance gives.
        randomised: Correlation with the maps of the same model with shuffled weights: high is bad.
        shifted: Correlation with the maps of the patches moved by a thirtieth of their side: low is bad.
        curves: Mean answers in years after each step: `older_first`, `younger_first`, `random`; (STEPS + 1,).
        patches: How many it was measured on.
    """

    backbone: str
    method: str
    deletion: float
    deletion_error: float
    insertion: float
    insertion_error: float
    ink_fraction: float
    ink_area: float
    randomised: float
    shifted: float
    curves: dict[str, np.ndarray]
    patches: int

    @property
    def doubts(self) -> list[str]:
        """Why the maps should not be believed; empty where they passed."""
        found = []
        if self.deletion <= 2 * self.deletion_error:
            found.append("erasing does not follow it")
        if self.insertion <= 2 * self.insertion_error:
            found.append("inserting does not follow it")
        if not self.randomised < RANDOMISED:
            found.append("shuffled weights give nearly the same map")
        if not self.shifted > STABLE:
            found.append("a small shift changes it")
        return found

    @property
    def verdict(self) -> str:
        return f"no: {'; '.join(self.doubts)}" if self.doubts else "yes"


def faithfulness(
    explainer: Explainer,
    patches: np.ndarray,
    paper: np.ndarray | float | None = None,
    methods: Sequence[Method] = SIGNED,
    seed: int = 0,
) -> list[Faithfulness]:
    """Tests methods on a model.

    Args:
        explainer: Explainer of the model.
        patches: uint8 (P, S, S, C), with ink; a dozen give a fair picture.
        paper: Colour of the paper. Defaults to the median of the patches.
        methods: Methods to test. Defaults to all signed ones.
        seed: Seed of the random orders and of the shuffled weights.
    """
    patches = np.asarray(patches)
    paper = np.broadcast_to(np.median(patches, (0, 1, 2)) if paper is None else paper, patches.shape[-1:])
    ink = np.stack([ink_mask(patch) for patch in patches])
    step = max(1, explainer.side // 30)
    moved = np.stack([_moved(patch, step, paper) for patch in patches])
    own = {method: explainer.maps(patches, method, paper) for method in methods}
    after = {method: explainer.maps(moved, method, paper) for method in methods}
    with shuffled_weights(explainer.model, seed):
        without = {method: explainer.maps(patches, method, paper) for method in methods}
    random = _random_curves(explainer, patches, ink, paper, np.random.default_rng(seed))
    results = []
    for method, maps in own.items():
        signed = method in SIGNED
        older, younger = (
            np.stack(
                [
                    _curve(explainer, patch, paper, _erasing_order(sign * values, inked))
                    for patch, values, inked in zip(patches, maps, ink, strict=True)
                ]
            )
            for sign in (1, -1)
        )
        deletion, insertion = _gains(older, younger, random, signed)
        results.append(
            Faithfulness(
                backbone=explainer.name,
                method=method,
                deletion=float(deletion.mean()),
                deletion_error=_error(deletion),
                insertion=float(insertion.mean()),
                insertion_error=_error(insertion),
                ink_fraction=_fraction_on(maps, ink),
                ink_area=float(_wide(ink).mean()),
                randomised=_correlation(maps, without[method], ink),
                shifted=_correlation(maps[:, step:, step:], after[method][:, :-step, :-step], ink[:, step:, step:]),
                curves={
                    "older_first": older.mean(axis=0),
                    "younger_first": younger.mean(axis=0),
                    "random": random.mean(axis=(0, 1)),
                },
                patches=len(patches),
            )
        )
    return results


def faithfulness_table(results: Sequence[Faithfulness]) -> str:
    """A Markdown table: a row for each backbone and method."""
    rows = [
        [
            r.backbone,
            TITLES[r.method],
            f"{r.deletion:+.2f} ± {r.deletion_error:.2f}",
            f"{r.insertion:+.2f} ± {r.insertion_error:.2f}",
            f"{r.ink_fraction:.0%} (area {r.ink_area:.0%})",
            f"{r.randomised:.2f}",
            f"{r.shifted:.2f}",
            r.verdict,
        ]
        for r in results
    ]
    head = ["backbone", "map", "deletion, years", "insertion, years", "on ink", "shuffled weights", "shifted"]
    return tabulate(rows, [*head, "to be believed"], tablefmt="github", disable_numparse=True)


@contextlib.contextmanager
def shuffled_weights(model: keras.Model, seed: int = 0) -> Iterator[None]:
    """Shuffles the values within each weight of a model, and puts them back in the end.

    The values stay, so that variances remain positive and activations in range; only what was learnt is gone.
    """
    kept, rng = model.get_weights(), np.random.default_rng(seed)
    try:
        model.set_weights([rng.permutation(w.ravel()).reshape(w.shape) if w.ndim else w for w in kept])
        yield
    finally:
        model.set_weights(kept)


def _blocks(values: np.ndarray) -> np.ndarray:
    """Means over the places, float (BLOCKS * BLOCKS,)."""
    return cv2.resize(values.astype(np.float32), (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA).ravel()


def _erasing_order(values: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The places that have ink, highest value first."""
    inked, means = np.flatnonzero(_blocks(ink)), _blocks(values)
    return inked[np.argsort(-means[inked], kind="stable")]


def _curve(explainer: Explainer, patch: np.ndarray, paper: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Answers in years when places are erased in an order: (STEPS + 1,), from the whole patch to all ink gone."""
    side = np.arange(explainer.side) * BLOCKS // explainer.side
    place = side[:, None] * BLOCKS + side
    rank = np.full(BLOCKS * BLOCKS, len(order))
    rank[order] = np.arange(len(order))
    gone = rank[place][..., None] < np.linspace(0, len(order), STEPS + 1).round()[:, None, None, None]
    return explainer.ages(np.where(gone, paper, patch).astype(np.float32))


def _random_curves(explainer, patches, ink, paper, rng) -> np.ndarray:
    """(P, RANDOM_ORDERS, STEPS + 1)."""
    return np.stack(
        [
            [
                _curve(explainer, patch, paper, rng.permutation(np.flatnonzero(_blocks(inked))))
                for _ in range(RANDOM_ORDERS)
            ]
            for patch, inked in zip(patches, ink, strict=True)
        ]
    )


def _gains(older: np.ndarray, younger: np.ndarray, random: np.ndarray, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion of each patch, (P,) years.

    Inserting what looks older first passes through the same patches as erasing what looks younger first, backwards.
    """
    if signed:
        middle = random.mean(axis=1)
        return (middle - older).mean(axis=1), (younger - middle).mean(axis=1)
    start, end = older[:, :1], older[:, -1:]
    far = np.abs(random - start[:, None]).mean(axis=(1, 2)), np.abs(random - end[:, None]).mean(axis=(1, 2))
    return np.abs(older - start).mean(axis=1) - far[0], np.abs(younger - end).mean(axis=1) - far[1]


def _wide(ink: np.ndarray) -> np.ndarray:
    """Ink with its edge: a map cannot be sharper than its layer."""
    kernel = np.ones((max(3, ink.shape[1] // 40),) * 2, np.uint8)
    return np.stack([cv2.dilate(mask.astype(np.uint8), kernel) for mask in ink])


def _fraction_on(maps: np.ndarray, ink: np.ndarray) -> float:
    total = np.abs(maps).sum()
    return float((np.abs(maps) * _wide(ink)).sum() / total) if total else 0.0


def _moved(patch: np.ndarray, step: int, paper: np.ndarray) -> np.ndarray:
    """Moved up and left; paper follows."""
    moved = np.empty_like(patch)
    moved[:] = np.rint(paper)
    moved[:-step, :-step] = patch[step:, step:]
    return moved


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("inf")


def _correlation(first: np.ndarray, second: np.ndarray, ink: np.ndarray) -> float:
    """The mean over patches of the size of the rank correlation over places with ink, 0 to 1.

    Places without ink are left out: there most maps are zero whatever the model, which would count as likeness.
    """
    from scipy.stats import rankdata

    found = []
    for a, b, inked in zip(first, second, ink, strict=True):
        places = np.flatnonzero(_blocks(inked))
        a, b = (rankdata(_blocks(m)[places]) for m in (a, b))
        found.append(abs(np.corrcoef(a, b)[0, 1]) if len(places) > 2 and a.std() and b.std() else 0.0)
    return float(np.mean(found))
