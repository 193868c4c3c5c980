"""Losses on ages in years, for heads that give a number, quantiles, or a distribution over ages.

Every loss takes `y_true` (N, 1) float, years, and `y_pred`, the raw output of the head that `heads.py` pairs it with.
"""

import keras
from keras import ops

# One bin a year, 0 to 100; an older writer counts as 100 in the label, not in any metric.
AGES = tuple(range(101))


def expected_age(logits):
    """The mean of softmax(logits) (N, 101) over the ages 0 to 100. Returns (N, 1) years."""
    ages = ops.convert_to_tensor(AGES, "float32")
    return ops.sum(ops.softmax(logits) * ages, axis=-1, keepdims=True)


def age_distribution(y_true, deviation):
    """A Gaussian around each age, over the bins 0 to 100. Returns (N, 101) probabilities."""
    ages = ops.convert_to_tensor(AGES, "float32")
    return ops.softmax(-0.5 * ops.square((ages - ops.reshape(y_true, (-1, 1))) / deviation))


@keras.saving.register_keras_serializable("age_keras")
class LabelDistributionLoss(keras.losses.Loss):
    """DLDL-v2: divergence from a Gaussian label distribution, plus the error of the expected age.

    Gao et al. 2018, "Age Estimation Using Expectation of Label Distribution Learning", equations 4 to 7.

    Args:
        deviation: of the label's Gaussian, in years. Defaults to 2.
        weight: of the L1 error of the expectation. Defaults to 1.
    """

    def __init__(self, deviation=2.0, weight=1.0, name="label_distribution", **kwargs):
        super().__init__(name=name, **kwargs)
        self.deviation, self.weight = deviation, weight

    def call(self, y_true, y_pred):
        target = age_distribution(y_true, self.deviation)
        divergence = ops.sum(target * (ops.log(target + 1e-9) - ops.log_softmax(y_pred)), axis=-1)
        error = ops.abs(expected_age(y_pred)[:, 0] - ops.reshape(y_true, (-1,)))
        return divergence + self.weight * error

    def get_config(self):
        return {**super().get_config(), "deviation": self.deviation, "weight": self.weight}


@keras.saving.register_keras_serializable("age_keras")
class MeanVarianceLoss(keras.losses.Loss):
    """Cross-entropy plus penalties on the mean's error and on the variance of the predicted distribution.

    Pan et al. 2018, "Mean-Variance Loss for Deep Age Estimation From a Face", equation 6.

    Args:
        mean_weight: of the squared error of the mean, halved. Defaults to the paper's 0.2.
        variance_weight: of the variance. Defaults to the paper's 0.05.
    """

    def __init__(self, mean_weight=0.2, variance_weight=0.05, name="mean_variance", **kwargs):
        super().__init__(name=name, **kwargs)
        self.mean_weight, self.variance_weight = mean_weight, variance_weight

    def call(self, y_true, y_pred):
        ages = ops.convert_to_tensor(AGES, "float32")
        y_true = ops.reshape(y_true, (-1,))
        year = ops.cast(ops.clip(ops.round(y_true), 0, AGES[-1]), "int32")
        entropy = -ops.sum(ops.one_hot(year, len(AGES)) * ops.log_softmax(y_pred), axis=-1)
        mean = expected_age(y_pred)
        variance = ops.sum(ops.softmax(y_pred) * ops.square(ages - mean), axis=-1)
        return entropy + self.mean_weight * 0.5 * ops.square(mean[:, 0] - y_true) + self.variance_weight * variance

    def get_config(self):
        return {**super().get_config(), "mean_weight": self.mean_weight, "variance_weight": self.variance_weight}


@keras.saving.register_keras_serializable("age_keras")
class CornLoss(keras.losses.Loss):
    """CORN: one conditional binary task a year, "older than k, given older than k - 1".

    Shi, Cao, Raschka 2021, arXiv:2111.08851, equation 5: each task learns from the examples that reach it. The sum is
    over tasks; the mean over examples is taken by Keras.
    """

    def __init__(self, name="corn", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        thresholds = ops.convert_to_tensor(AGES[:-1], "float32")
        y_true = ops.reshape(y_true, (-1, 1))
        reached = ops.cast(y_true > thresholds - 1, "float32")
        older = ops.cast(y_true > thresholds, "float32")
        log_probability = older * ops.log_sigmoid(y_pred) + (1 - older) * ops.log_sigmoid(-y_pred)
        return -ops.sum(reached * log_probability, axis=-1)


@keras.saving.register_keras_serializable("age_keras")
class PinballLoss(keras.losses.Loss):
    """The quantile loss of Koenker and Bassett 1978, summed over quantiles.

    Args:
        quantiles: the levels, one per column of the decoded prediction, e.g. (0.05, 0.5, 0.95).
    """

    def __init__(self, quantiles=(0.05, 0.5, 0.95), name="pinball", **kwargs):
        super().__init__(name=name, **kwargs)
        self.quantiles = tuple(quantiles)

    def call(self, y_true, y_pred):
        levels = ops.convert_to_tensor(self.quantiles, "float32")
        error = ops.reshape(y_true, (-1, 1)) - spread_quantiles(y_pred)
        return ops.sum(ops.maximum(levels * error, (levels - 1) * error), axis=-1)

    def get_config(self):
        return {**super().get_config(), "quantiles": self.quantiles}


def spread_quantiles(raw):
    """(N, 3) raw outputs to quantiles that cannot cross: median, and softplus distances below and above it."""
    median = raw[:, 1:2]
    return ops.concatenate([median - ops.softplus(raw[:, :1]), median, median + ops.softplus(raw[:, 2:])], axis=-1)
