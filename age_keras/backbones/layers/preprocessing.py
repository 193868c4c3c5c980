"""The first layer of every model: from pixels 0-255, grey or RGB, to what the backbone's first convolution expects."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("age_keras")
class PixelNormalization(keras.layers.Layer):
    """(pixel * scale - mean) / std per channel, after repeating a grey channel three times.

    Input: (N, H, W, 1) or (N, H, W, 3), pixels in [0, 255], RGB. Output: (N, H, W, 3).

    Args:
        scale: Factor on the pixels, usually 1 / 255.
        mean, std: Per channel, in units of the scaled pixel, in the order of the output's channels.
        channel_order: Order of the output's channels, `rgb` or `bgr`.
    """

    def __init__(self, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channel_order="rgb", **kwargs):
        super().__init__(**kwargs)
        if channel_order not in ("rgb", "bgr"):
            raise ValueError(f"channel_order must be 'rgb' or 'bgr'. Received: channel_order={channel_order}")
        self.scale = float(scale)
        self.mean = tuple(map(float, mean))
        self.std = tuple(map(float, std))
        self.channel_order = channel_order

    @classmethod
    def for_spec(cls, spec, preprocessing="native"):
        """The layer that a backbone wants. See `build_backbone` for the three kinds of preprocessing."""
        if preprocessing == "native":
            return cls(1 / 255, spec.mean, spec.std, spec.channel_order, name="preprocessing")
        if preprocessing == "published":
            return cls(1 / 255, name="preprocessing")
        if preprocessing == "none":
            return cls(name="preprocessing")
        raise ValueError(
            f"preprocessing must be 'native', 'published' or 'none'. Received: preprocessing={preprocessing}"
        )

    def call(self, x):
        x = ops.cast(x, "float32")  # 0-255 does not fit bfloat16: normalise first, round then.
        if x.shape[-1] == 1:
            x = ops.repeat(x, 3, axis=-1)
        elif self.channel_order == "bgr":
            x = ops.flip(x, axis=-1)
        # One multiply and one add, folded beforehand.
        factor = ops.convert_to_tensor([self.scale / s for s in self.std], "float32")
        shift = ops.convert_to_tensor([m / s for m, s in zip(self.mean, self.std, strict=True)], "float32")
        return ops.cast(x * factor - shift, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 3)

    def get_config(self):
        own = {"scale": self.scale, "mean": self.mean, "std": self.std, "channel_order": self.channel_order}
        return {**super().get_config(), **own}
