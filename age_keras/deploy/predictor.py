"""Ages of pages from a saved model: the same decoding, patches and averaging as in its training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from age_keras.config.pages import PageSettings
from age_keras.config.serialization import from_dict
from age_keras.data.patches.pages import cut_page
from age_keras.data.table.samples import samples_of
from age_keras.errors import InputError
from age_keras.models.age import load_age_model
from age_keras.predictions.intervals import bound

BATCH = 32


@dataclass(frozen=True)
class PagePrediction:
    """The answer for one page.

    Attributes:
        page: The image's path.
        age: Years.
        lower, upper: The interval, years; None where the model has nothing to base one on.
        coverage: Fraction of writers whose age the interval is made to hold, e.g. 0.9.
        patches: How many were used.
        blank: The page has no patch with ink; the answer means nothing.
        error: Why there is no answer, or None.
    """

    page: str
    age: float | None
    patches: int
    blank: bool = False
    lower: float | None = None
    upper: float | None = None
    coverage: float | None = None
    error: str | None = None


class Predictor:
    """A saved age model, ready to answer.

    Args:
        path: A `.keras` file from a run's `checkpoints/`.

    Raises:
        InputError: There is no such file, or it is no age model.

    Example:
        >>> pages = Predictor("runs/demo/1a2b3c4d/checkpoints/resnet10.keras").predict(["page.tif"])
        >>> pages[0].age
        20.0
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.model, self.facts = load_age_model(self.path)
        self.calibration = pd.DataFrame(self.facts.get("calibration") or {})
        self.settings = from_dict(PageSettings, self.facts["pages"], f"{self.path}: pages")

    @property
    def synthetic(self) -> bool:
        """Whether the model was trained on synthetic pages."""
        return bool(self.facts.get("synthetic"))

    def predict(self, pages: Sequence[str | Path], coverage: float = 0.9) -> list[PagePrediction]:
        """Predicts the ages of pages.

        Args:
            pages: Images, or folders of images.
            coverage: Coverage of the intervals, in (0, 1).

        Returns:
            One answer a page, in the order given; a page that cannot be read has an `error` instead of an age.

        Raises:
            InputError: A path does not exist or holds no image.
        """
        return [self.predict_page(path, coverage) for path in samples_of(pages).paths]

    def predict_page(self, path: str | Path, coverage: float = 0.9) -> PagePrediction:
        """Predicts the age of one page; see `predict`."""
        try:
            page = cut_page(path, self.settings)
        except InputError as error:
            return PagePrediction(str(path), None, 0, error=str(error))
        raw = np.asarray(self.predict_patches(page.patches)).mean(axis=0)
        age = float(raw[1] if len(raw) == 3 else raw[0])
        lower, upper = self._bounds(raw, coverage)
        return PagePrediction(
            str(path), age, len(page.patches), page.blank, lower, upper, coverage if lower is not None else None
        )

    def predict_patches(self, patches: np.ndarray) -> np.ndarray:
        """Years for patches uint8 (P, S, S, C): float32 (P, 1), or (P, 3) for a quantile head."""
        batches = [patches[i : i + BATCH] for i in range(0, len(patches), BATCH)]
        return np.concatenate([keras.ops.convert_to_numpy(self.model(batch, training=False)) for batch in batches])

    def _bounds(self, raw: np.ndarray, coverage: float) -> tuple[float | None, float | None]:
        """The interval of a page whose patches' mean output is `raw`, (1,) or (3,), as in a run's predictions."""
        if self.calibration.empty:
            return None, None
        quantiles = {"Lower": raw[:1], "Upper": raw[2:]} if len(raw) == 3 else {}
        page = pd.DataFrame({"Writer": "", "TrueAge": np.nan, "Prediction": raw[len(raw) // 2 :][:1], **quantiles})
        lower, upper = bound(self.calibration, page, coverage)
        return float(lower[0]), float(upper[0])
