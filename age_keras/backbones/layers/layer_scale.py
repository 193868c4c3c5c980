"""A learned factor per channel on a residual branch (Touvron et al. 2021, CaiT, arXiv:2103.17239, section 2)."""

import keras


@keras.saving.register_keras_serializable("age_keras")
class LayerScale(keras.layers.Layer):
    """Multiplies each channel by a learned factor, which starts small so that a deep network starts near the identity.

    Args:
        initial: The factors' value before training. Defaults to 1e-5.
    """

    def __init__(self, initial=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.initial = float(initial)

    def build(self, input_shape):
        start = keras.initializers.Constant(self.initial)
        self.scale = self.add_weight((input_shape[-1],), initializer=start, name="scale")

    def call(self, x):
        return x * self.scale

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "initial": self.initial}
