"""Splitting a set of characters: hold-outs, folds by writer, and its training, validation and test parts."""

import numpy as np

from age_keras.characters.data.characters import Characters
from age_keras.errors import InputError
from age_keras.folds import deal


def stratified_holdout(labels: np.ndarray, size: int | float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Holds out a part that is stratified by class.

    Args:
        labels: `(N,)`.
        size: Number of characters to hold out or, below 1, their fraction.
        seed: Seed of the choice. Defaults to 0.

    Returns:
        Row numbers `(rest, held out)`, each ascending.

    Raises:
        InputError: Nothing or everything would be held out.
    """
    labels = np.asarray(labels)
    wanted = _count(size, len(labels))
    rng = np.random.default_rng(seed)
    # Each row's place within its class, as a fraction; the lowest fractions over all classes are held out.
    place = np.empty(len(labels))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        place[rows] = (np.arange(len(rows)) + rng.uniform()) / len(rows)
    held = np.argsort(place, kind="stable")[:wanted]
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(held)


def writer_holdout(
    writers: np.ndarray, size: int | float, seed: int = 0, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Holds out all characters of some writers, so that no writer is in both parts.

    Args:
        writers: `(N,)`.
        size: Fraction of the writers to hold out or, from 1 on, the approximate number of characters.
        seed: Seed of the choice. Defaults to 0.
        groups: `(N,)`, a group of each character's writer (students, employees) to stratify by. Defaults to none.

    Returns:
        Row numbers `(rest, held out)`, each ascending.

    Raises:
        InputError: There is one writer only, or nothing or everything would be held out.
    """
    writers = np.asarray(writers)
    names, first = np.unique(writers, return_index=True)
    if len(names) < 2:
        raise InputError("A writer-disjoint split needs at least two writers.")
    strata = np.zeros(len(names), int) if groups is None else np.asarray(groups)[first]
    if groups is None or np.bincount(np.unique(strata, return_inverse=True)[1]).min() < 2:
        strata = np.zeros(len(names), int)
    fraction = _count(size, len(writers)) / len(writers) if size >= 1 else size
    if not 0 < fraction < 1:
        raise _cannot_hold_out(size, len(writers))
    wanted = min(max(1, round(fraction * len(names))), len(names) - 1)
    _, held = stratified_holdout(strata, wanted, seed)
    mask = np.isin(writers, names[held])
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def _count(size: int | float, total: int) -> int:
    """A number, or a fraction of the total, as a number."""
    if 0 < size < total and 0 < (wanted := round(size if size >= 1 else size * total)) < total:
        return wanted
    raise _cannot_hold_out(size, total)


def _cannot_hold_out(size: int | float, total: int) -> InputError:
    return InputError(
        f"{size:g} of {total} characters cannot be held out: give a fraction between 0 and 1, or a number below that."
    )


def writer_folds(writers: np.ndarray, folds: int, seed: int = 0, groups: np.ndarray | None = None) -> np.ndarray:
    """Assigns the writers to folds, so that each writer's characters are in one fold only.

    Args:
        writers: `(N,)`.
        folds: Number of folds, at least 2.
        seed: Seed of the assignment. Defaults to 0.
        groups: `(N,)`, a group of each character's writer to stratify by. Defaults to none.

    Returns:
        The fold of each character, `(N,)`, from 0.
    """
    if not 2 <= folds <= (count := len(np.unique(writers))):
        raise InputError(f"{count} writers cannot be divided into {folds} folds.")
    return deal(writers, [1 / folds] * folds, seed, groups)


def split_parts(
    characters: Characters, validation: int | float, limit: int = 0, seed: int = 0
) -> dict[str, Characters]:
    """Training, validation and test parts; where no test part is published, it is a fifth.

    Where writers are known, validation and that fifth hold other writers than the training part, unless the class is
    the writer; then, and where they are not known, the parts are stratified by class.

    Args:
        characters: All characters.
        validation: Number of training characters to hold out, or their fraction.
        limit: Number of training characters to use; 0 uses all. Defaults to 0.
        seed: Seed of the choices. Defaults to 0.

    Returns:
        "train", "validation" and "test".

    Raises:
        InputError: A part would be empty.
    """
    if limit < 0:
        raise InputError(f"`limit` must not be negative. Received: limit={limit}.")
    by_class = characters.writers is None or characters.labelled_by_writer

    def hold_out(part, size, by_class):
        rows = stratified_holdout(part.labels, size, seed) if by_class else writer_holdout(part.writers, size, seed)
        return tuple(part.take(r) for r in rows)

    if (characters.split == "test").any():
        train, test = characters.part("train"), characters.part("test")
    else:
        train, test = hold_out(characters, 0.2, by_class)
    if limit and limit < len(train):
        train = train.take(stratified_holdout(train.labels, limit, seed)[1])
    if not 0 < validation < len(train):
        raise InputError(
            f"`validation` must be a fraction, or a number below {len(train)}. Received: validation={validation:g}."
        )
    rest, held = hold_out(train, validation, by_class or len(np.unique(train.writers)) < 2)
    return {"train": rest, "validation": held, "test": test}
