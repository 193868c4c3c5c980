"""What the user should read of the feature cache, each sentence once."""

import math
from collections.abc import Callable

from age_keras.prefix.cache.room import LIMIT
from age_keras.prefix.features import Features

NO_ROOM = f"fit neither the cache's limit ({LIMIT} sets it) nor the disk"


class CacheNotes:
    """Passes sentences on that have not been said.

    Args:
        say: called with a sentence.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say, self._said = say, set()

    def once(self, sentence: str) -> None:
        """Says it, unless it has been said."""
        if sentence not in self._said:
            self._said.add(sentence)
            self._say(sentence)

    def costs(self, store: Features) -> None:
        """What the precisions have cost, whoever paid it."""
        if store.error:
            self.once(f"Features are kept in {store.precision}: each changes by {_percent(store.error)} of its value.")
        if store.compute_error:
            self.once(
                f"The frozen layers are computed in {store.computed_in}: features differ from those in float32 by "
                f"{_percent(store.compute_error)} (root mean square, measured on a sample of patches)."
            )

    def no_disk(self, total: int, why: str, in_memory: bool) -> None:
        """What is done instead of keeping features on disk."""
        instead = (
            "they are kept in memory for this run" if in_memory else "the whole network runs in every epoch instead"
        )
        self.once(f"{total / 1e9:.1f} GB of features {why}: {instead}.")


def _percent(error: float) -> str:
    """Rounded up to a figure or two, so that the parts of a run say nearly the same."""
    unit = min(0.1, 10.0 ** math.floor(math.log10(100 * error)))
    return f"at most {math.ceil(100 * error / unit) * unit:g} %"
