"""How much of the age a page's file gives away, before anything is read: size, resolution, file size, source, tint."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from age_keras.data.patches.decode import FORMATS

FOLDS, TREES, RESAMPLES = 5, 60, 2000
FEWEST_PAGES, FEWEST_WRITERS = 20, 10
SMALLEST_SKILL = 0.05
CONFIDENCE = 0.99  # Several suspicions are tested at once.
# What each suspicion may look at. `excess` is the file's size beyond what its content explains.
FEATURES = {
    "size": ("log_width", "log_height", "log_aspect"),
    "resolution": ("dpi",),
    "file size": ("log_bytes", "bytes_per_pixel"),
    "excess": ("log_excess",),
    "source": ("source_",),
    "all together": ("log_width", "log_height", "log_aspect", "dpi", "log_excess", "source_"),
}


@dataclass(frozen=True)
class Skill:
    """How well something is predicted on writers that were left out.

    Attributes:
        error, constant: Mean absolute errors in years, of the features and of the others' median.
        skill: 1 - error / constant. low: the lower end of its interval, by resampling writers; NaN where it could not
            be measured.
    """

    error: float
    constant: float
    skill: float
    low: float

    @property
    def found(self) -> bool:
        return self.low > 0 and self.skill >= SMALLEST_SKILL


def file_facts(path: Path) -> dict[str, float]:
    """What the file of a page says without its pixels.

    Much writing makes a large file: `log_excess` is how much larger the file is than the same pixels written anew, so
    that what is left tells of the scanner's settings.
    """
    with open(path, "rb") as file, Image.open(file, formats=FORMATS) as image:
        width, height = image.size
        dpi = image.info.get("dpi", (0, 0))
        anew, lossy = io.BytesIO(), image.format in ("JPEG", "WEBP")
        image.convert("L").save(anew, format="JPEG" if lossy else "PNG")
    size = path.stat().st_size
    return {
        "log_width": np.log(width),
        "log_height": np.log(height),
        "log_aspect": np.log(width / height),
        "dpi": float(dpi[0] or 0),
        "log_bytes": np.log(size),
        "bytes_per_pixel": size / (width * height),
        "log_excess": np.log(size / anew.tell()),
    }


def columns_of(facts: pd.DataFrame, suspicion: str) -> pd.DataFrame:
    """The features of a suspicion that vary at all."""
    own = [c for c in facts if c.startswith(FEATURES[suspicion])]
    table = facts[own].astype(float)
    return table.loc[:, table.nunique() > 1]


def cross_validated_skill(features: pd.DataFrame, target: np.ndarray, writers: np.ndarray, seed: int = 0) -> Skill:
    """Predicts years from features by a small forest, on writers that it did not see.

    Args:
        features: (N, F) numbers.
        target: (N,) years.
        writers: (N,), no writer is in two folds.
        seed: Seed of the forest and of the resampling.

    Returns:
        NaNs where there is nothing to learn from, or too few pages or writers to tell.
    """
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.model_selection import GroupKFold

    codes = pd.factorize(np.asarray(writers))[0]
    count = codes.max() + 1 if len(codes) else 0
    if features.shape[1] == 0 or len(target) < FEWEST_PAGES or count < FEWEST_WRITERS:
        return Skill(*(float("nan"),) * 4)
    target = np.asarray(target, float)
    error, constant = np.zeros((2, len(target)))
    values = features.fillna(features.median()).fillna(0).to_numpy()
    for train, test in GroupKFold(FOLDS, shuffle=True, random_state=seed).split(values, groups=codes):
        leaf = max(3, len(train) // 25)
        forest = ExtraTreesRegressor(
            TREES, criterion="squared_error", min_samples_leaf=leaf, max_features=1.0, random_state=seed
        )
        # Ages are skewed: the mean of their logarithms lies near their median, which the constant is.
        forest.fit(values[train], np.log1p(target[train].clip(0)))
        error[test] = np.abs(np.expm1(forest.predict(values[test])) - target[test])
        constant[test] = np.abs(np.median(target[train]) - target[test])
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    sums = np.stack([np.bincount(codes, weights=e, minlength=count) for e in (error, constant)])
    ours, theirs = draws @ sums[0], draws @ sums[1]
    skills = 1 - ours / np.maximum(theirs, 1e-12)
    skill = 1 - error.mean() / constant.mean() if constant.any() else float("nan")
    return Skill(float(error.mean()), float(constant.mean()), float(skill), float(np.quantile(skills, 1 - CONFIDENCE)))
