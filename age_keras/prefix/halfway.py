"""Features of a frozen part by way of those that the next phase needs: pixels pass through the network once.

Phase 2 unfreezes the top of the backbone. What stays frozen in it is the lower part of what is frozen in phase 1: from
its features, phase 1's need only the layers between the two cuts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import keras
import numpy as np
import tensorflow as tf

from age_keras.prefix.cut import CutModel
from age_keras.prefix.features import Features
from age_keras.prefix.graph import CallsModel
from age_keras.prefix.reduced import reduced


@dataclass(frozen=True, eq=False)
class Halfway:
    """Where to start from instead of the pixels.

    Attributes:
        features: behind a lower cut.
        onward: from the tensors of that cut to those of a higher one; see `between`.
    """

    features: Features
    onward: keras.Model
    _functions: dict[tuple, Callable] = field(default_factory=dict)

    def compute(
        self, rows: np.ndarray, view: int | None, batch: int, computed_in: str = "float32"
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """Yields (places in `rows`, tensors of the higher cut), as `PrefixPass.compute`."""
        run = self._function(batch, computed_in)
        for first in range(0, len(rows), batch):
            places = np.arange(first, min(first + batch, len(rows)))
            full = np.resize(rows[places], batch)  # A batch of another size would be traced again.
            tensors = run(*self.features.gather(full, view))
            yield places, [np.asarray(tensor)[: len(places)] for tensor in tensors]

    def _function(self, batch: int, computed_in: str) -> Callable:
        if (batch, computed_in) not in self._functions:
            signature = [tf.TensorSpec((batch, *spec.shape[1:]), spec.dtype) for spec in self.features.signature]
            self._functions[batch, computed_in] = (
                tf.function(lambda *tensors: self.onward(tensors), input_signature=signature, autograph=False)
                if computed_in == "float32"
                else reduced(self.onward, signature, computed_in)
            )
        return self._functions[batch, computed_in]


def between(lower: CutModel, higher: CutModel) -> CallsModel | None:
    """What leads from one cut of a model to another above it; None where the lower one is not below the higher."""
    if lower.model is not higher.model or lower.prefix is None or higher.prefix is None:
        return None
    # Both graphs were read from the same model, in the same order: a tensor has the same slot in both.
    done = {slot for call in lower.prefix.calls for slot in call.outputs}
    calls = [call for call in higher.prefix.calls if done.isdisjoint(call.outputs)]
    made = {slot for call in calls for slot in call.outputs}
    needed = {slot for call in calls for slot in call.inputs}.union(higher.slots)
    if not calls or not needed <= made.union(lower.slots):
        return None
    name = f"{lower.model.name}_between"
    return CallsModel(higher.graph, calls, calls, lower.slots, higher.slots, list_outputs=True, name=name)
