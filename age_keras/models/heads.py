"""Heads: what stands behind the pooled features, how it is trained, and how its output becomes years.

A head gives raw outputs; its loss reads them as they are; its decoder, a Keras layer, turns them into years: (N, 1), or
(N, 3) for quantiles: lower, median, upper.
"""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from age_keras.config.model import HeadName, RegressionLoss
from age_keras.models.losses import (
    AGES,
    CornLoss,
    LabelDistributionLoss,
    MeanVarianceLoss,
    PinballLoss,
    expected_age,
    spread_quantiles,
)

MEDIAN_COLUMN = 1


@keras.saving.register_keras_serializable("age_keras")
class AgeDecoder(keras.layers.Layer):
    """From a head's raw output to years: (N, 1), or (N, 3) for the quantile head.

    Args:
        head: the head's name.
    """

    def __init__(self, head: HeadName = "regression", **kwargs):
        super().__init__(dtype="float32", **{k: v for k, v in kwargs.items() if k != "dtype"})
        if head not in HEADS:
            raise ValueError(f"head must be one of {', '.join(HEADS)}. Received: head={head}")
        self.head = head

    def call(self, raw):
        return HEADS[self.head].decode(raw)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 3 if self.head == "quantile" else 1)

    def get_config(self):
        return {**super().get_config(), "head": self.head}


@keras.saving.register_keras_serializable("age_keras")
class AgeError(keras.metrics.MeanMetricWrapper):
    """Mean absolute error in years of a head's raw output. Named `mae`."""

    def __init__(self, head: HeadName = "regression", name="mae", **kwargs):
        super().__init__(fn=self._error, name=name, dtype=kwargs.pop("dtype", None))
        self.head = head

    def _error(self, y_true, y_pred):
        years = HEADS[self.head].decode(y_pred)
        middle = MEDIAN_COLUMN if years.shape[-1] == 3 else 0
        return ops.abs(years[:, middle] - ops.cast(ops.reshape(y_true, (-1,)), years.dtype))

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "head": self.head}


@dataclass(frozen=True)
class Head:
    """One way to predict an age.

    Attributes:
        units: of the last Dense layer.
        decode: raw (N, units) to years.
        loss: makes the loss. Takes the regression loss's name, which only `regression` heeds.
        bias: the start of the bias, from the median age and the mean absolute deviation of the training writers.
        paper: its source.
    """

    units: int
    decode: Callable
    loss: Callable[[RegressionLoss], keras.losses.Loss]
    bias: Callable[[float, float], np.ndarray]
    paper: str


def _laplace(median: float, deviation: float) -> np.ndarray:
    """Probabilities of the ages 0 to 100 under a Laplace distribution, whose best constant is its median."""
    weights = np.exp(-np.abs(np.array(AGES) - median) / max(deviation, 1.0))
    return weights / weights.sum()


def _log_odds_of_older(median: float, deviation: float) -> np.ndarray:
    """Logit of P(age > k | age > k - 1) for k = 0 ... 99 under the same distribution."""
    above = np.clip(1 - np.cumsum(_laplace(median, deviation))[:-1], 1e-12, 1)
    conditional = np.clip(above / np.concatenate([[1.0], above[:-1]]), 1e-6, 1 - 1e-6)
    return np.log(conditional / (1 - conditional))


def _older_to_age(raw):
    """CORN: the expected age is the sum of P(age > k), each a product of conditional probabilities."""
    return ops.sum(ops.exp(ops.cumsum(ops.log_sigmoid(raw), axis=-1)), axis=-1, keepdims=True)


def _regression_loss(name: RegressionLoss) -> keras.losses.Loss:
    # A Huber delta of 5 years: squared within the accuracy that published tables call good, linear beyond.
    losses = {"mse": keras.losses.MeanSquaredError, "mae": keras.losses.MeanAbsoluteError}
    return keras.losses.Huber(delta=5.0) if name == "huber" else losses[name]()


HEADS: dict[str, Head] = {
    "regression": Head(1, lambda raw: raw, _regression_loss, lambda m, d: np.array([m]), "the published study"),
    "dldl": Head(
        len(AGES),
        expected_age,
        lambda _: LabelDistributionLoss(),
        lambda m, d: np.log(_laplace(m, d)),
        "Gao et al. 2018",
    ),
    "mean_variance": Head(
        len(AGES), expected_age, lambda _: MeanVarianceLoss(), lambda m, d: np.log(_laplace(m, d)), "Pan et al. 2018"
    ),
    "corn": Head(len(AGES) - 1, _older_to_age, lambda _: CornLoss(), _log_odds_of_older, "arXiv:2111.08851"),
    # The 5 % and 95 % quantiles of a Laplace distribution lie 2.3 mean deviations from its median.
    "quantile": Head(
        3,
        spread_quantiles,
        lambda _: PinballLoss(),
        lambda m, d: np.array([2.3 * d, m, 2.3 * d]),
        "Koenker, Bassett 1978",
    ),
}
