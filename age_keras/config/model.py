"""What an age model is, besides its backbone: weights, pooling, head and loss."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from age_keras.config.settings import Settings

HeadName = Literal["regression", "dldl", "corn", "mean_variance", "quantile"]
RegressionLoss = Literal["mse", "mae", "huber"]
Pooling = Literal["average", "max", "average_max", "class_token"]
Preprocessing = Literal["native", "published", "none"]
DropRate = Annotated[float, Interval(ge=0, lt=1)]


@dataclass(frozen=True)
class ModelConfig(Settings):
    """What the model is.

    Args:
        weights: `imagenet`, `none`, or a file of weights for the backbone. Defaults to `imagenet`.
        preprocessing: `native`, what the backbone expects, or `published`, pixels divided by 255 for every backbone, as
            in the published study. Defaults to `native`.
        pooling: Pooling of the last features. `class_token` needs a backbone that has one. Defaults to `average`.
        dropout: Dropout rate before the head. Defaults to 0.5.
        head: How the age is predicted; see docs/heads.md. Defaults to `regression`.
        loss: Loss of the `regression` head, in years. Defaults to `mae`.
        drop_path_rate: Stochastic depth of the backbone, if it has one. Defaults to 0.
        batch_norm: `inference` keeps the statistics of BatchNorm fixed, in trained layers too; `training` updates them;
            `auto` is `inference` with given weights and `training` with none. Defaults to `auto`.
    """

    weights: str = "imagenet"
    preprocessing: Literal["native", "published"] = "native"
    pooling: Pooling = "average"
    dropout: DropRate = 0.5
    head: HeadName = "regression"
    loss: RegressionLoss = "mae"
    drop_path_rate: DropRate = 0.0
    batch_norm: Literal["auto", "inference", "training"] = "auto"

    def __post_init__(self):
        super().__post_init__()
        if self.head != "regression":
            self.refuse_unused(f"with head={self.head}, which has a loss of its own", "loss")
