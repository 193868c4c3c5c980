"""Optimizers whose running average of the weights (EMA) is of use from the first epoch on."""

import keras
from keras import ops


class _WarmAverage:
    """`ema_momentum` is a ceiling: at step t the decay is min(ceiling, (1 + t) / (10 + t)).

    With a constant decay the first weights, which are noise, stay in the average for thousands of steps. The rule is
    that of TensorFlow's `tf.train.ExponentialMovingAverage(num_updates=t)`.
    """

    @property
    def ema_momentum(self):
        step = ops.cast(self.iterations, "float32")
        return ops.minimum(self._ceiling, (1.0 + step) / (10.0 + step))

    @ema_momentum.setter
    def ema_momentum(self, ceiling):
        self._ceiling = ceiling

    def get_config(self):
        return {**super().get_config(), "ema_momentum": self._ceiling}


@keras.saving.register_keras_serializable("age_keras")
class AveragedAdamW(_WarmAverage, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW` with an average whose decay grows to `ema_momentum`."""


@keras.saving.register_keras_serializable("age_keras")
class AveragedSGD(_WarmAverage, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with an average whose decay grows to `ema_momentum`."""
