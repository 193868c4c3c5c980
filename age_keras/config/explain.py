"""The maps that show where on a page a model sees age, and the experiment that shows them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Interval

from age_keras.config.settings import AtLeastOne, Count, Settings

Method = Literal["grad_cam", "grad_cam_plus_plus", "score_cam", "saliency", "smooth_grad", "attention_rollout"]


@dataclass(frozen=True)
class GradCamConfig(Settings):
    """What is explained.

    Args:
        run: Folder of a run.
        model: Name of a model in its predictions.csv. Defaults to the one with the smallest error.
        method: The kind of map; docs/explain.md says which to trust. Defaults to `grad_cam`.
        layers: Number of the model's layers that are fused. Defaults to 2.
        pages: Number of the best, and of the worst, pages of each age band that are shown. Defaults to 2.
        patches: Number of patches on which the methods are tested; 0 for no test. Defaults to 12.
        data: Folder of the pages. Defaults to the run's own.
        tensorboard: Whether the pictures are also written as TensorBoard images. Defaults to True.
    """

    run: Path | None = None
    model: str | None = None
    method: Method = "grad_cam"
    layers: Annotated[int, Interval(ge=1, le=4)] = 2
    pages: AtLeastOne = 2
    patches: Count = 12
    data: Path | None = None
    tensorboard: bool = True
