"""Learning rates over a whole training: one cycle, cosine, constant."""

import math
from typing import Literal

import keras
from keras import ops

Schedule = Literal["one-cycle", "cosine", "constant"]


@keras.saving.register_keras_serializable("age_keras")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise from a twentieth of the peak, then half a cosine down to `peak * floor`.

    With a rise over a sixth of the steps it is the one-cycle policy (Smith & Topin 2018) with a cosine end.

    Args:
        peak: the highest learning rate.
        total_steps: optimizer steps of the whole training.
        rise: fraction of the steps that the rate rises in.
        floor: fraction of the peak left at the end. Defaults to 0.001.
    """

    def __init__(self, peak, total_steps, rise, floor=1e-3):
        self.peak, self.total_steps, self.rise, self.floor = peak, total_steps, rise, floor

    def __call__(self, step):
        done = ops.minimum(ops.cast(step, "float32") / max(self.total_steps, 1), 1.0)
        up = 0.05 + 0.95 * done / max(self.rise, 1e-6)
        fall = ops.maximum(done - self.rise, 0.0) / (1.0 - self.rise)
        down = self.floor + (1.0 - self.floor) * 0.5 * (1.0 + ops.cos(math.pi * fall))
        return self.peak * ops.where(done < self.rise, up, down)

    def get_config(self):
        return {"peak": self.peak, "total_steps": self.total_steps, "rise": self.rise, "floor": self.floor}


def learning_rate(schedule: Schedule, peak: float, total_steps: int) -> float | WarmupCosine:
    """The learning rate of a training of `total_steps` steps, as Keras' optimizers take it."""
    if schedule == "constant":
        return peak
    return WarmupCosine(peak, total_steps, rise=0.15 if schedule == "one-cycle" else 0.02)
