"""Skill within a source, against that source's own constant."""

import numpy as np
import pandas as pd

from age_keras.evaluation.baselines import training_constants
from age_keras.evaluation.bootstrap import writer_weights
from age_keras.evaluation.groups import source_scores
from age_keras.predictions.alignment import Aligned
from age_keras.predictions.labels import labels_of


def aligned(folds: bool) -> Aligned:
    rng = np.random.default_rng(0)
    ages = np.concatenate([rng.uniform(8, 15, 20), rng.uniform(30, 60, 20)])
    pages = pd.DataFrame(
        {
            "ImageID": [f"p{i}" for i in range(40)],
            "TrueAge": ages,
            "Fold": np.arange(40) % 2 + 1 if folds else 0,
            "Writer": [f"w{i}" for i in range(40)],
            "Split": "oof",
            "Source": ["school"] * 20 + ["office"] * 20,
        }
    )
    told = np.where(pages.Source == "school", 11.5, 45.0)
    return Aligned(pages, ("sources",), told[None], None, None, {}, 0)


def test_telling_the_sources_apart_is_no_skill_within_them():
    found = {s["source"]: s for s in source_scores(aligned(folds=True), None, writer_weights(40, 200))}
    assert list(found) == ["office", "school"]
    for source in found.values():
        assert source["n"] == 20
        assert abs(source["Skill"][0]) < 0.2
        assert not source["constant"].hindsight


def test_constants_from_the_training_rows_of_the_source_or_in_hindsight():
    labels = labels_of(
        pd.DataFrame({"ImageID": list("abc"), "Age": [9.0, 11, 13], "Writer": list("abc"), "Source": "school"})
    )
    found = {s["source"]: s for s in source_scores(aligned(folds=False), labels, writer_weights(40, 200))}
    assert found["school"]["constant"].predictions[0] == training_constants([9, 11, 13], list("abc"))["page_median"]
    assert found["office"]["constant"].hindsight


def test_one_source_has_no_table():
    one = aligned(folds=True)
    assert source_scores(one.rows((one.pages.Source == "school").to_numpy()), None, writer_weights(20, 100)) == []
