"""Stochastic depth: a block's branch left out at random, image by image (Huang et al. 2016, arXiv:1603.09382)."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("age_keras")
class StochasticDepth(keras.layers.Layer):
    """Zeroes whole images of a residual branch while training, and scales the others by 1 / (1 - rate).

    Args:
        rate: The probability of leaving an image's branch out, in [0, 1).
        seed: Seed of the random numbers. Defaults to None (another at each start).
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be in [0, 1). Received: rate={rate}")
        self.rate = float(rate)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def call(self, x, training=False):
        if not training or self.rate == 0:
            return x
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        kept = keras.random.uniform(shape, seed=self.seed_generator) >= self.rate
        return x * ops.cast(kept, x.dtype) / ops.cast(1 - self.rate, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


def rates(drop_path_rate: float, depth: int) -> list[float]:
    """The rate of each block: from 0 to `drop_path_rate`, linearly with depth."""
    return [drop_path_rate * i / max(depth - 1, 1) for i in range(depth)]


def residual(x, branch, rate: float, name: str):
    """`x + branch`, the branch under stochastic depth where `rate` is over 0; the sum's layer is called `name`."""
    if rate:
        branch = StochasticDepth(rate, name=f"{name}.drop_path")(branch)
    return keras.layers.Add(name=name)([x, branch])
