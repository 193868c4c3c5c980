"""Age shows in the synthetic cohort, and is not written on it."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from age_keras.data.synthetic.cohort import LABELS, synthesize


def _hand_made_features(path: Path) -> list[float]:
    """Logs of letter height and its spread, baseline wobble, line width, darkness and raggedness."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32)
    dark = 1 - grey / np.median(grey)
    ink = (dark > 0.22).astype(np.uint8)
    x, y, width, height, area = cv2.connectedComponentsWithStats(ink)[2][1:].astype(float).T
    letters = (area > 25) & (height > 8) & (height < 160) & (width < 150)
    x, y, height = x[letters], y[letters], height[letters]
    typical = np.median(height[height > 0.6 * np.median(height)])
    order = np.argsort(x)
    x, foot = x[order], (y + height)[order]
    wobble = []
    for i in range(len(x) - 1):
        apart = np.abs(foot[i + 1 : i + 60] - foot[i])
        near = (apart < 0.7 * typical) & (x[i + 1 : i + 60] - x[i] < 3 * typical)
        wobble += [apart[near.argmax()]] if near.any() else []
    depth = cv2.distanceTransform(ink, cv2.DIST_L2, 3)
    ridge = (depth >= cv2.dilate(depth, np.ones((3, 3)))) & (ink > 0)
    edge = cv2.morphologyEx(ink, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).sum()
    spread = np.quantile(height, 0.75) / np.quantile(height, 0.25)
    values = (typical, spread, np.mean(wobble) / typical, depth[ridge].mean(), dark[ridge].mean(), edge / ink.sum(),
              ridge.sum() / height.sum())  # fmt: skip
    return np.log(values).tolist()


@pytest.mark.slow
def test_age_can_be_learnt_but_not_read_off(tmp_path):
    """Ridge on seven hand-made features, judged on unseen writers: better than the median, and far from zero error."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = synthesize(tmp_path / "cohort", writers=120, seed=0, progress=False)
    with open(folder / LABELS, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    features = np.array([_hand_made_features(folder / row["Set"] / row["File"]) for row in rows])
    age = np.array([float(row["Age"]) for row in rows])
    writer = np.array([row["File"].split("_")[0] for row in rows])
    error, constant = [], []
    for seed in range(5):
        for train, test in GroupKFold(5, shuffle=True, random_state=seed).split(features, age, writer):
            model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 3, 9))).fit(
                features[train], np.log(age[train])
            )
            error += np.abs(np.exp(model.predict(features[test])) - age[test]).tolist()
            constant += np.abs(np.median(age[train]) - age[test]).tolist()
    skill = 1 - np.mean(error) / np.mean(constant)
    assert 0.1 < skill < 0.5
    assert np.mean(error) > 3
