"""What an age model is: backbone, weights, pooling, head and loss."""

from dataclasses import dataclass
from typing import Literal

from age_keras.errors import InputError

HeadName = Literal["regression", "dldl", "corn", "mean_variance", "quantile"]
RegressionLoss = Literal["mse", "mae", "huber"]
Pooling = Literal["average", "max", "average_max", "class_token"]
Preprocessing = Literal["native", "published", "none"]


@dataclass(frozen=True)
class ModelConfig:
    """What the model is.

    Attributes:
        weights: `imagenet`, `none`, or a file of weights for the backbone.
        preprocessing: `native`, or `published` (/255 for every family, as the study did).
        pooling: of the last features; `class_token` only where the backbone has one.
        dropout: rate before the head.
        head: how the age is predicted; see docs/heads.md.
        loss: of the `regression` head, in years.
        drop_path_rate: stochastic depth of the backbone, where it has one.
        batch_norm: `inference` keeps the statistics of BatchNorm still in unfrozen layers too; `training` updates them;
            `auto` is `inference` for given weights and `training` for none.
    """

    weights: str = "imagenet"
    preprocessing: Literal["native", "published"] = "native"
    pooling: Pooling = "average"
    dropout: float = 0.5
    head: HeadName = "regression"
    loss: RegressionLoss = "mae"
    drop_path_rate: float = 0.0
    batch_norm: Literal["auto", "inference", "training"] = "auto"

    def __post_init__(self):
        for key in ("dropout", "drop_path_rate"):
            if not 0 <= getattr(self, key) < 1:
                raise InputError(f"`{key}` must lie in [0, 1). Received: {key}={getattr(self, key)}.")
