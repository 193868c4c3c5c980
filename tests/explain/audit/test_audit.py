"""The audit finds each planted shortcut, and is silent on a model that reads the writing of a clean set."""

import json

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from age_keras.cli import main
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.config.serialization import to_dict
from age_keras.explain.audit.metadata import cross_validated_skill, file_facts
from age_keras.explain.audit.suspicions import correlation, judge_attribution, judge_files, judge_pixels, probe_pages
from age_keras.explain.audit.zones import (
    ZONES,
    as_much_writing,
    change_stroke_width,
    ink_alone,
    mean_stroke_width,
    paper_alone,
    zones_of,
)
from age_keras.files import write_json
from age_keras.models.age import build_age_model
from age_keras.predictions.table import write_predictions
from age_keras.run.bundle import save_bundle

SIDE = 60
SETTINGS = PageSettings(image_size=None, shorter_side=120, patch_size=SIDE, stride=SIDE)
PAGES = 14


def draw_page(age, rng, *, mark=False, tint=240, width=2, size=(120, 180)):
    """Level strokes, and the more upright ones the older the writer; inside the margins."""
    page = np.full((180, 120), tint, np.float64) + rng.normal(0, 1.5, (180, 120))
    page = page.clip(0, 255).astype(np.uint8)
    for row in range(8):
        for column in range(6):
            x, y = 18 + 14 * column + int(rng.integers(3)), 26 + 16 * row + int(rng.integers(3))
            upright = rng.random() < age / 80
            cv2.line(page, (x, y), (x, y + 8) if upright else (x + 8, y), 40, width)
    if mark:
        page[3:15, 3:15] = 20
    return cv2.resize(page, size, interpolation=cv2.INTER_AREA)


def years(build, weights):
    """A model from ink (1 - pixel / 255) to years: one reading a patch, a bias and a factor."""
    inputs = keras.Input((SIDE, SIDE, 1), name="pixels")
    ink = keras.layers.Rescaling(-1 / 255, 1.0)(inputs)
    head = keras.layers.Dense(1)
    model = keras.Model(inputs, head(build(ink)))
    factor, bias = weights
    head.set_weights([np.full((1, 1), factor, np.float32), np.full(1, bias, np.float32)])
    return model


def upright_reader():
    conv = keras.layers.Conv2D(1, 7, activation="relu")
    kernel = np.full((7, 7, 1, 1), -0.4, np.float32)
    kernel[:, 3] = 1.2

    def build(ink):
        x = keras.layers.GlobalAveragePooling2D()(conv(ink))
        conv.set_weights([kernel, np.full(1, -0.5, np.float32)])
        return x

    return years(build, (600.0, 10.0))


def mark_reader():
    """Solid black of the size of the mark; strokes are never solid over 8 x 8 pixels."""

    def build(ink):
        return keras.layers.ReLU(threshold=0.7)(
            keras.layers.GlobalMaxPooling2D()(keras.layers.AveragePooling2D(8, 1)(ink))
        )

    return years(build, (200.0, 20.0))


def tint_reader():
    return years(lambda ink: keras.layers.GlobalMaxPooling2D()(keras.layers.Rescaling(-1.0, 1.0)(ink)), (-200.0, 215.0))


def width_reader():
    """What is left of the ink under a window of 3 x 3: the inside of wide strokes."""

    def build(ink):
        inside = keras.layers.ReLU(threshold=0.7)(keras.layers.AveragePooling2D(3, 1)(ink))
        return keras.layers.GlobalAveragePooling2D()(inside)

    return years(build, (200.0, 15.0))


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """Draws a set, and tells the names of the suspicions that the audit confirms on its pixels."""

    def run(model, plant):
        folder, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(1)
        paths = []
        for i, age in enumerate(np.linspace(8, 75, PAGES)):
            paths.append(folder / f"{i}.png")
            Image.fromarray(draw_page(age, rng, **plant(age))).save(paths[-1])
        traced = keras.ops.convert_to_numpy
        probes = probe_pages(lambda x: traced(model(x, training=False))[:, 0], paths, SETTINGS)
        assert probes["whole"].std() > 3  # the model answers something
        verdicts = judge_pixels(probes)
        assert all(s.verdict.endswith(".") and s.verdict.count(". ") == 0 for s in verdicts)
        return {s.name for s in verdicts if s.found}

    return run


class TestPixels:
    def test_silent_on_a_clean_set(self, audit):
        assert audit(upright_reader(), lambda age: {}) == set()

    def test_a_source_mark_in_a_corner(self, audit):
        assert audit(mark_reader(), lambda age: {"mark": age > 40}) & {"corners", "margins", "tint"} == {"corners"}

    def test_paper_tint(self, audit):
        assert {"paper", "tint", "ink alone"} <= audit(tint_reader(), lambda age: {"tint": int(250 - age)})

    def test_stroke_width(self, audit):
        found = audit(width_reader(), lambda age: {"width": 1 + int(age // 20)})
        assert "stroke width" in found
        assert not found & {"corners", "margins", "paper", "tint"}

    def test_a_model_that_reads_nothing_planted_is_not_blamed_for_what_the_data_has(self, audit):
        found = audit(upright_reader(), lambda age: {"mark": age > 40, "tint": int(250 - age / 4)})
        assert not found & {"corners", "paper", "tint"}


class TestFiles:
    @pytest.fixture(scope="class")
    def ages(self):
        return np.random.default_rng(0).uniform(8, 75, 60)

    @staticmethod
    def facts(folder, ages, size):
        rng, rows = np.random.default_rng(2), []
        for i, age in enumerate(ages):
            path = folder / f"{i}.png"
            Image.fromarray(draw_page(age, rng, size=size(age, rng))).save(path, dpi=(300, 300))
            rows.append(file_facts(path))
        return pd.DataFrame(rows)

    def test_page_size(self, ages, tmp_path):
        facts = self.facts(tmp_path, ages, lambda age, rng: (120 + int(age), 180 + int(age)))
        verdicts = {s.name: s for s in judge_files(facts, ages, np.arange(60), answers=ages + 1)}
        assert verdicts["size"].found
        assert "answers follow it" in verdicts["size"].verdict
        assert verdicts["all together"].found
        assert verdicts["resolution"].found is False

    def test_silent_on_a_clean_set(self, ages, tmp_path):
        facts = self.facts(tmp_path, ages, lambda age, rng: (120 + int(rng.integers(60)), 200))
        facts["source_a"] = (np.arange(60) % 2).astype(float)
        assert not [s.name for s in judge_files(facts, ages, np.arange(60) // 2) if s.found]

    def test_a_source_with_its_own_ages_and_a_model_that_ignores_it(self, ages):
        facts = pd.DataFrame({"source_a": (ages > 40).astype(float), "dpi": 300.0})
        answers = np.random.default_rng(3).uniform(8, 75, 60)
        source = next(s for s in judge_files(facts, ages, np.arange(60), answers) if s.name == "source")
        assert source.found
        assert "do not follow" in source.verdict

    def test_writers_are_kept_apart_and_too_few_are_not_judged(self, ages):
        # Each writer has a size and an age of their own: known only to who has seen the writer.
        writers = np.repeat(np.arange(12), 5)
        own = np.random.default_rng(5)
        sizes, theirs = own.permutation(12)[writers].astype(float), own.uniform(8, 75, 12)[writers]
        assert not cross_validated_skill(pd.DataFrame({"x": sizes}), theirs, writers).found
        few = cross_validated_skill(pd.DataFrame({"x": ages[:12]}), ages[:12], np.arange(12))
        assert np.isnan(few.skill)


class TestZones:
    @pytest.fixture(scope="class")
    def page(self):
        return draw_page(60, np.random.default_rng(0), mark=True)[..., None]

    def test_cover_the_page_without_overlap(self, page):
        total = np.sum(list(zones_of(page).values()), axis=0)
        assert (total == 1).all()
        assert tuple(zones_of(page)) == ZONES

    def test_ruled_lines_are_no_writing(self, page):
        ruled = page.copy()
        ruled[60:62, 12:110] = 100
        zones = zones_of(ruled)
        assert zones["lines"][61, 40:100].mean() > 0.9
        assert not zones_of(page)["lines"].any()

    def test_as_much_writing_holds_about_as_much_ink(self, page):
        from age_keras.data.patches.ink import ink_mask

        zones, ink = zones_of(page), ink_mask(page)
        chosen = as_much_writing(page, zones, "corners", np.random.default_rng(0))
        assert (ink & chosen).sum() == pytest.approx((ink & zones["corners"]).sum(), rel=0.4)
        assert not (chosen & ~zones["writing"]).any()

    def test_paper_and_ink_apart(self, page):
        paper = paper_alone(page, np.random.default_rng(0))
        assert paper.shape == page.shape
        assert paper.min() > 200
        ink = ink_alone(page, np.array([200.0]))
        assert np.median(ink) == 200
        assert ink.min() < 60

    def test_stroke_width_in_pixels(self, page):
        widths = []
        for width in (2, 4, 6):
            blank = np.full((120, 120, 1), 240, np.uint8)
            cv2.line(blank, (10, 60), (110, 60), 20, width)
            widths.append(mean_stroke_width(blank))
        assert np.all(np.diff(widths) > 1)
        assert (
            mean_stroke_width(change_stroke_width(page, 1))
            > mean_stroke_width(page)
            > mean_stroke_width(change_stroke_width(page, -1))
        )
        assert np.isnan(mean_stroke_width(np.full((50, 50, 1), 240, np.uint8)))


def test_attribution_on_a_corner_is_a_suspicion():
    areas = dict.fromkeys(ZONES, 0.2) | {"corners": 0.05}
    even = judge_attribution(areas, areas)
    heavy = judge_attribution(areas | {"corners": 0.6}, areas)
    assert (even.found, heavy.found) == (False, True)
    assert "corners" in heavy.verdict


def test_correlation_of_a_constant_is_none():
    assert correlation(np.ones(9), np.arange(9.0)) == (0.0, 1.0)


class TestCommand:
    @pytest.fixture(scope="class")
    def run(self, tmp_path_factory):
        root, rng = tmp_path_factory.mktemp("audited"), np.random.default_rng(0)
        (root / "pages").mkdir()
        rows = []
        for i, age in enumerate(rng.uniform(8, 70, 24)):
            Image.fromarray(draw_page(age, rng)).save(root / "pages" / f"{i}.png")
            rows.append((f"{i}.png", age, age + 1, "resnet10", 0, str(i), "test"))
        columns = ["ImageID", "TrueAge", "Prediction", "Model", "Fold", "Writer", "Split"]
        run = root / "run"
        write_predictions(run / "predictions.csv", pd.DataFrame(rows, columns=columns))
        write_json(run / "environment.json", {"data_folder": str(root / "pages")})
        built = build_age_model("resnet10", ModelConfig(weights="none"), SIDE, 1, median=20.0)
        facts = {"kind": "age", "name": "resnet10", "pages": to_dict(SETTINGS)}
        save_bundle(run / "checkpoints" / "resnet10.keras", built.predictor, facts)
        return run

    def test_one_sentence_for_each_suspicion_and_two_files(self, run, capsys):
        assert main(["audit", str(run), "--pages", "8"]) == 0
        printed = capsys.readouterr().out
        found = json.loads((run / "audit.json").read_text())
        names = {s["name"] for s in found["suspicions"]}
        assert {"corners", "margins", "lines", "paper", "tint", "ink alone", "stroke width", "attribution"} <= names
        assert {"size", "resolution", "file size", "source"} <= names
        for suspicion in found["suspicions"]:
            assert suspicion["verdict"] in printed
        # An untrained model answers the median whatever it sees: nothing can be found in its pixels.
        assert (run / "audit.md").read_text().startswith("No suspicion was confirmed.")

    def test_refuses_what_is_no_run(self, run, tmp_path, capsys):
        assert main(["audit", str(tmp_path / "none")]) == 2
        assert main(["audit", str(tmp_path)]) == 2
        assert main(["audit", str(run), "--data", str(tmp_path)]) == 2
        assert "give their folder by --data" in capsys.readouterr().err
        assert main(["audit", str(run), "--model", "vgg"]) == 2
        assert "it has resnet10" in capsys.readouterr().err
