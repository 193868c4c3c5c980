"""Where the cells of a map go in SwinV2: shifted between windows, and four merged into one."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("age_keras")
class CyclicShift(keras.layers.Layer):
    """Moves a map (N, H, W, C) up and left by `shift` cells; what falls off comes in at the other side.

    Args:
        shift: Cells; negative moves down and right.
    """

    def __init__(self, shift, **kwargs):
        super().__init__(**kwargs)
        self.shift = int(shift)

    def call(self, x):
        # Not a roll, which exporters do not know; and split, for the gradient of a slice is a sum of padded tensors.
        for axis in (1, 2):
            x = ops.concatenate(ops.split(x, [self.shift % x.shape[axis]], axis=axis)[::-1], axis=axis)
        return x

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "shift": self.shift}


@keras.saving.register_keras_serializable("age_keras")
class SpaceToDepth(keras.layers.Layer):
    """Four neighbours' channels side by side, column by column: (N, H, W, C) -> (N, H / 2, W / 2, 4 * C)."""

    def call(self, x):
        _, height, width, channels = x.shape
        rows = ops.split(ops.reshape(x, (-1, height // 2, 2, width * channels)), 2, axis=2)
        rows = (ops.split(ops.reshape(x, (-1, height // 2, width // 2, 2 * channels)), 2, axis=3) for x in rows)
        return ops.concatenate([cell for column in zip(*rows, strict=True) for cell in column], axis=-1)

    def compute_output_shape(self, input_shape):
        n, height, width, channels = input_shape
        return (n, height // 2, width // 2, 4 * channels)
