"""Cells of a map gathered by their place in a patch of 2 x 2, and put back, for MobileViT (arXiv:2110.02178)."""

import keras
from keras import ops

PATCH = 2


@keras.saving.register_keras_serializable("age_keras")
class Unfold(keras.layers.Layer):
    """Gathers the cells of one place in their patch: (N, H, W, C) -> (N, 4, H / 2 * W / 2, C)."""

    def call(self, x):
        _, height, width, channels = x.shape
        rows, columns = height // PATCH, width // PATCH
        x = ops.transpose(ops.reshape(x, (-1, rows, PATCH, width * channels)), (0, 2, 1, 3))
        x = ops.transpose(ops.reshape(x, (-1, rows * columns, PATCH, channels)), (0, 2, 1, 3))
        return ops.reshape(x, (-1, PATCH * PATCH, rows * columns, channels))

    def compute_output_shape(self, input_shape):
        n, height, width, channels = input_shape
        return (n, PATCH * PATCH, (height // PATCH) * (width // PATCH), channels)


@keras.saving.register_keras_serializable("age_keras")
class Fold(keras.layers.Layer):
    """Puts the cells back: (N, 4, rows * columns, C) -> (N, 2 * rows, 2 * columns, C).

    Args:
        rows, columns: Patches down and across.
    """

    def __init__(self, rows, columns, **kwargs):
        super().__init__(**kwargs)
        self.rows, self.columns = int(rows), int(columns)

    def call(self, x):
        rows, columns, channels = self.rows, self.columns, x.shape[-1]
        width = columns * PATCH * channels
        x = ops.transpose(ops.reshape(x, (-1, PATCH, rows * columns, channels)), (0, 2, 1, 3))
        x = ops.transpose(ops.reshape(x, (-1, PATCH, rows, width)), (0, 2, 1, 3))
        return ops.reshape(x, (-1, rows * PATCH, columns * PATCH, channels))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.rows * PATCH, self.columns * PATCH, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "rows": self.rows, "columns": self.columns}


@keras.saving.register_keras_serializable("age_keras")
class Stretch(keras.layers.Layer):
    """Bilinear resizing of a map, without antialiasing.

    Not `keras.layers.Resizing`, whose `call` has `training=True` as its default: Keras 3.15 hands that on to the layers
    after it, and their batch normalisation then runs in training mode, at inference too.

    Args:
        height, width: Height and width of the output.
    """

    def __init__(self, height, width, **kwargs):
        super().__init__(**kwargs)
        self.height, self.width = int(height), int(width)

    def call(self, x):
        resized = ops.image.resize(ops.cast(x, "float32"), (self.height, self.width), data_format="channels_last")
        return ops.cast(resized, x.dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.height, self.width, input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "height": self.height, "width": self.width}
