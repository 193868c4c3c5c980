"""Each coded check finds what it is for, and is silent otherwise."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from age_keras.bands import BAND_EDGES
from age_keras.config.age import AgeConfig, CrossValidationConfig, FoldsConfig, TrainingConfig
from age_keras.config.model import ModelConfig
from age_keras.config.serialization import to_dict
from age_keras.evaluation.checks import run_checks
from age_keras.evaluation.evaluate import evaluate
from age_keras.evaluation.report.verdict import source_skill
from age_keras.evaluation.run_facts import RunFacts
from age_keras.predictions.labels import labels_of

ROOT = Path(__file__).resolve().parents[2]
N = 240


def cohort(noise=1.0, **columns) -> pd.DataFrame:
    """Predictions of a good model: 240 pages of 120 writers in all age bands."""
    rng = np.random.default_rng(0)
    writers = np.arange(N) // 2
    ages = np.repeat(np.linspace(8, 80, N // 2).round(), 2)
    frame = pd.DataFrame(
        {
            "ImageID": [f"p{i}.png" for i in range(N)],
            "TrueAge": ages,
            "Prediction": ages + rng.normal(0, noise, N),
            "Model": "m",
            "Fold": writers % 5 + 1,
            "Writer": [f"w{w}" for w in writers],
            "Split": "oof",
        }
    ).assign(**columns)
    frame.attrs.update(writers="column")
    return frame


def codes(frame, labels=None, **options):
    return {c.code: c for c in run_checks(evaluate(frame, labels, edges=BAND_EDGES, resamples=300, **options))}


def labels(**columns):
    frame = cohort()
    return labels_of(
        pd.DataFrame({"ImageID": "train_" + frame.ImageID, "Age": frame.TrueAge, "Writer": "t" + frame.Writer}).assign(
            **columns
        )
    )


def test_nothing_to_say_about_a_good_model():
    assert codes(cohort()) == {}
    assert codes(cohort(Fold=0, Split="test"), labels()) == {}


def test_writer_leak():
    assert "more than one fold" in codes(cohort(Fold=np.arange(N) % 5 + 1))["AK001"].message
    leak = codes(cohort(Fold=0, Split="test"), labels(Writer=cohort().Writer))["AK001"]
    assert leak.severity == "error"
    assert "120 scored writers" in leak.message
    same = labels_of(cohort()[["ImageID", "TrueAge", "Writer"]])
    assert "training pages" in codes(cohort(Fold=0, Split="test"), same)["AK001"].message


def test_scored_on_the_selection_set():
    assert "AK002" in codes(cohort(Fold=0, Split="val"), labels())
    marked = labels_of(
        pd.concat([labels(Split="train"), cohort()[["ImageID", "TrueAge", "Writer"]].assign(Split="val")])
    )
    frame = cohort(Fold=0, Split="test")
    assert "AK002" in codes(frame, marked)
    published = CrossValidationConfig(folds=FoldsConfig(selection="published"))
    assert "AK002" in codes(cohort(), facts=RunFacts(to_dict(published)))
    assert "AK002" not in codes(cohort(), facts=RunFacts(to_dict(CrossValidationConfig())))


def test_worse_than_a_constant_and_collapsed():
    bad = codes(cohort(Prediction=70.0))
    assert bad["AK003"].models == ("m",)
    assert bad["AK004"].severity == "warning"


def test_not_significant():
    """Three writers are much better predicted than by the constant, the others a little worse."""
    frame = cohort(Fold=0, Split="test")
    ages = labels().TrueAge.median()
    frame["Prediction"] = ages + 0.7 * np.sign(ages - frame.TrueAge)
    lucky = frame.Writer.isin([f"w{i}" for i in range(3)])
    frame.loc[lucky, "Prediction"] = frame.TrueAge[lucky]
    assert "AK005" in codes(frame, labels())
    assert "AK005" not in codes(cohort())


def test_too_few_writers_in_a_band():
    found = codes(cohort().query("TrueAge < 55").reset_index(drop=True))
    assert ">50 (" in found["AK006"].message


def test_what_the_run_recorded():
    config = to_dict(
        AgeConfig(training=TrainingConfig(shuffle=False), model=ModelConfig(preprocessing="published"))
    )  # As a run writes it into config.json.
    environment = {
        "skipped": [["a", "b"]],
        "input_scaling": {
            "resnet50": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            "mobilevit_xxs": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        },
    }
    found = codes(cohort(), facts=RunFacts(config, {**environment, "synthetic": True}))
    assert {"AK007", "AK008", "AK012", "AK016"} <= set(found)
    assert found["AK008"].message.endswith("does not suit resnet50.")
    assert not {"AK007", "AK008", "AK012", "AK016"} & set(codes(cohort(), facts=RunFacts(to_dict(AgeConfig()))))


def test_missing_and_repeated_rows():
    frame = cohort()
    two = pd.concat([frame, frame.iloc[5:].assign(Model="n")], ignore_index=True)
    two.attrs.update(frame.attrs)
    assert "n (5)" in codes(two)["AK009"].message
    twice = pd.concat([frame, frame.head(3)], ignore_index=True)
    twice.attrs.update(frame.attrs)
    assert codes(twice)["AK010"].message.startswith("3 rows repeat")


def test_unknown_writers_and_hindsight():
    frame = cohort(Fold=0, Split="test", Writer=cohort().ImageID)
    frame.attrs["writers"] = "page"
    assert {"AK011", "AK014"} <= set(codes(frame))


def test_the_source_stands_in_for_the_age():
    source = np.where(cohort().TrueAge < 44, "children", "adults")
    told = np.where(source == "children", 26.0, 62.0) + np.random.default_rng(0).normal(0, 0.5, N)
    assert "AK013" in codes(cohort(Source=source, Prediction=told))
    few_children = np.where(cohort().TrueAge < 14, "children", "adults")
    assert 0 < source_skill(evaluate(cohort(Source=few_children), edges=BAND_EDGES, resamples=100)) < 0.2
    assert "AK013" not in codes(cohort(Source=few_children))
    mixed = np.where(np.arange(N) // 2 % 2, "one", "two")
    assert "AK013" not in codes(cohort(Source=mixed))


def test_too_few_writers_in_a_group():
    hand = np.where(np.arange(N) < 6, "L", "R")
    assert "Hand L (3)" in codes(cohort(Hand=hand))["AK015"].message


def test_better_by_page_not_by_writer():
    """One writer with many pages is predicted well, everyone else a little worse than by the constant."""
    frame = cohort().head(60).copy()
    frame["Writer"] = [f"w{max(0, i - 29)}" for i in range(60)]
    frame["Fold"] = [1] * 30 + [2] * 30
    frame["TrueAge"] = [60.0] * 30 + [15.0, 16.0] * 15
    frame["Prediction"] = [60.0] * 30 + [18.0] * 30
    frame.attrs.update(writers="column")
    train = labels_of(pd.DataFrame({"ImageID": list("abc"), "Age": [15.0, 15, 16], "Writer": list("abc")}))
    found = codes(frame.assign(Fold=0, Split="test"), train)
    assert found["AK017"].models == ("m",)


def test_every_code_has_its_entry_in_the_docs():
    source = (ROOT / "age_keras/evaluation/checks.py").read_text()
    used = dict(re.findall(r'Check\(\s*"(AK\d{3})",\s*"([^"]+)"', source))
    page = (ROOT / "docs/checks.md").read_text()
    assert len(used) == 17
    for code, title in used.items():
        assert f"## {code} {title}" in page, code


@pytest.mark.parametrize("options", [{}, {"facts": RunFacts({}, {"synthetic": True})}])
def test_messages_are_sentences(options):
    for check in codes(cohort(Prediction=70.0), **options).values():
        assert check.message.endswith(".")
        assert check.advice.endswith(".")
