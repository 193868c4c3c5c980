"""The answer while ink is erased place by place: the curves behind deletion and insertion."""

import cv2
import numpy as np

from age_keras.explain.cam import Explainer

BLOCKS = 12  # Places across a patch, erased one after the other.
STEPS = 10
RANDOM_ORDERS = 3


def blocks(values: np.ndarray) -> np.ndarray:
    """Means over the places, float (BLOCKS * BLOCKS,)."""
    return cv2.resize(values.astype(np.float32), (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA).ravel()


def order_of(values: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """The places that have ink, highest value first."""
    inked, means = np.flatnonzero(blocks(ink)), blocks(values)
    return inked[np.argsort(-means[inked], kind="stable")]


def curve(explainer: Explainer, patch: np.ndarray, paper: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Answers in years when places are erased in an order: (STEPS + 1,), from the whole patch to all ink gone."""
    side = np.arange(explainer.side) * BLOCKS // explainer.side
    place = side[:, None] * BLOCKS + side
    rank = np.full(BLOCKS * BLOCKS, len(order))
    rank[order] = np.arange(len(order))
    gone = rank[place][..., None] < np.linspace(0, len(order), STEPS + 1).round()[:, None, None, None]
    return explainer.ages(np.where(gone, paper, patch).astype(np.float32))


def random_curves(explainer, patches, ink, paper, rng) -> np.ndarray:
    """(P, RANDOM_ORDERS, STEPS + 1)."""
    return np.stack(
        [
            [
                curve(explainer, patch, paper, rng.permutation(np.flatnonzero(blocks(inked))))
                for _ in range(RANDOM_ORDERS)
            ]
            for patch, inked in zip(patches, ink, strict=True)
        ]
    )


def gains(older: np.ndarray, younger: np.ndarray, random: np.ndarray, signed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Deletion and insertion of each patch, (P,) years.

    Inserting what looks older first passes through the same patches as erasing what looks younger first, backwards.
    """
    if signed:
        middle = random.mean(axis=1)
        return (middle - older).mean(axis=1), (younger - middle).mean(axis=1)
    start, end = older[:, :1], older[:, -1:]
    far = np.abs(random - start[:, None]).mean(axis=(1, 2)), np.abs(random - end[:, None]).mean(axis=(1, 2))
    return np.abs(older - start).mean(axis=1) - far[0], np.abs(younger - end).mean(axis=1) - far[1]
