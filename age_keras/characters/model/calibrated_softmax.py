"""The last layer of a recogniser: probabilities at a temperature, and the thresholds that a prediction needs."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("age_keras")
class CalibratedSoftmax(keras.layers.Layer):
    """softmax(logits / temperature), with the thresholds of its confidence, saved in the model's own file.

    Training leaves the temperature at 1; calibration on held-out digits sets it (Guo et al. 2017), together with the
    two thresholds that `predict` reads. They are weights that never train, so they are saved with the model.

    Args:
        classes: Names of the classes in the order of the outputs. Defaults to none.

    Attributes:
        temperature: What the logits are divided by.
        set_threshold: The conformal set holds each class whose probability is at least this.
        abstain_below: The answer is "unsure" where the highest probability is below this.
    """

    def __init__(self, classes=(), **kwargs):
        super().__init__(**kwargs)
        self.classes = tuple(str(c) for c in classes)
        self.temperature = self._scalar("temperature", 1.0)
        self.set_threshold = self._scalar("set_threshold", 0.05)
        self.abstain_below = self._scalar("abstain_below", 0.5)

    def _scalar(self, name, value):
        return self.add_weight(
            name=name, shape=(), initializer=keras.initializers.Constant(value), trainable=False, dtype="float32"
        )

    def calibrate(self, temperature, set_threshold, abstain_below):
        """Sets the three numbers; `calibration.fit_confidence` gives them."""
        self.temperature.assign(temperature)
        self.set_threshold.assign(set_threshold)
        self.abstain_below.assign(abstain_below)

    def call(self, logits):
        return keras.activations.softmax(ops.cast(logits, "float32") / self.temperature)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "classes": list(self.classes)}
