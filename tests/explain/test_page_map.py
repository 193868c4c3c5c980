"""Maps of whole pages: stitched, in years, empty where the paper is, and written as files that need no network."""

import dataclasses
import re

import cv2
import keras
import numpy as np
import pytest
from PIL import Image

from age_keras.cli import main
from age_keras.config.model import ModelConfig
from age_keras.config.pages import PageSettings
from age_keras.config.serialization import to_dict
from age_keras.data.patches.ink import paper_colour
from age_keras.explain.cam import Explainer
from age_keras.explain.page import explain_page, near_ink, stitch, years_per_unit
from age_keras.explain.page_figure import colour_levels, page_picture, tint, tinted_scan
from age_keras.explain.page_html import write_html
from age_keras.models.age import build_age_model
from age_keras.run.bundle import save_bundle

SETTINGS = PageSettings(image_size=None, shorter_side=96, patch_size=48, stride=24)


def ink_counter():
    """Upper halves of patches count twice: the age is 10 and 100 for each share of ink."""
    x = inputs = keras.Input((48, 48, 1), name="pixels")
    x = keras.layers.Rescaling(-1 / 240, 1.0)(x)
    x = keras.layers.AveragePooling2D(4, name="places")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    head = keras.layers.Dense(1, name="head_output")
    model = keras.Model(inputs, head(x))
    head.set_weights([np.array([[100.0]], np.float32), np.array([10.0], np.float32)])
    return model


@pytest.fixture(scope="module")
def explainer():
    return Explainer(ink_counter(), layers=("places",))


@pytest.fixture
def page(tmp_path):
    """Written on its upper half alone, in a scan of twice the scaled size."""
    pixels = np.full((288, 192), 240, np.uint8)
    for y in range(20, 140, 16):
        cv2.line(pixels, (16, y), (176, y), 0, 4)
    path = tmp_path / "page <1>.png"
    Image.fromarray(pixels).save(path)
    return path


def test_the_map_is_in_years_and_adds_up(explainer, page):
    found = explain_page(explainer, page, SETTINGS)
    assert found.in_years
    assert found.agreement > 0.99
    assert found.values.shape == (144, 96)
    assert found.patch_ages.mean() == pytest.approx(found.age)
    # Ink adds 100 years for each share of the patch: a place of pure ink adds 1 year for each hundredth.
    assert np.nanmax(found.values) <= 1.05
    covered = np.isfinite(found.values)
    whole = 100 * found.values[covered].mean()
    assert whole == pytest.approx(found.age - 10, rel=0.25)  # patches overlap: the middle counts more often


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "score_cam", "saliency", "smooth_grad"])
def test_blank_paper_stays_blank(explainer, page, method):
    found = explain_page(explainer, page, SETTINGS, method)
    levels = colour_levels(found)
    assert np.abs(levels[110:]).max() < 0.05
    assert np.abs(levels[20:60]).max() > 0.5
    scan = np.asarray(tinted_scan(found, SETTINGS))
    assert scan.shape == (288, 192, 3)
    assert (scan[240:] == 240).all()


def test_a_page_without_ink(explainer, tmp_path):
    Image.new("L", (192, 192), 250).save(tmp_path / "empty.png")
    found = explain_page(explainer, tmp_path / "empty.png", SETTINGS)
    assert found.blank
    assert not colour_levels(found).any()
    page_picture(found, SETTINGS)


def test_a_page_smaller_than_a_patch_is_filled_up(explainer, tmp_path):
    pixels = np.full((30, 40), 240, np.uint8)
    pixels[10:20, 5:35] = 0
    Image.fromarray(pixels).save(tmp_path / "small.png")
    settings = PageSettings(image_size=None, shorter_side=None, patch_size=48, stride=24)
    found = explain_page(explainer, tmp_path / "small.png", settings)
    assert page_picture(found, settings).width > 40
    assert np.asarray(tinted_scan(found, settings)).shape == (30, 40, 3)


def test_stitching_keeps_what_patches_agree_on_and_leaves_no_seam():
    boxes = np.array([(x, y, 48, 48) for y in (0, 24) for x in (0, 24, 48)], np.int32)
    whole = stitch(np.full((6, 12, 12), 3.0, np.float32), boxes, (120, 72))
    np.testing.assert_allclose(whole[:, :96], 3, rtol=1e-5)
    assert np.isnan(whole[:, 96:]).all()
    steps = stitch(np.stack([np.full((48, 48), float(i)) for i in range(3)]), boxes[:3], (96, 48))
    assert np.abs(np.diff(steps[24])).max() < 0.2


def test_the_scale_is_refused_where_erasing_does_not_follow_the_map(explainer):
    patches = np.full((3, 48, 48, 1), 240, np.uint8)
    patches[:, :24, :24] = 0
    maps = np.zeros((3, 48, 48), np.float32)
    maps[:, 24:, 24:] = 1  # where there is nothing
    scale, agreement = years_per_unit(explainer, patches, maps, np.array([240.0]))
    assert scale == 0
    assert agreement < 0.3


def test_top_patches_add_most_and_do_not_repeat_each_other(explainer, page):
    found = explain_page(explainer, page, SETTINGS)
    older, younger = found.top_patches()
    assert found.influence[older[0]] == found.influence.max()
    assert found.influence[younger[0]] == found.influence.min()
    others = np.delete(found.patch_ages, older[0])
    assert found.influence[older[0]] == pytest.approx(found.age - others.mean(), abs=1e-3)
    assert max(found._overlap(i, j) for i in older for j in older if i != j) <= 0.5
    constant = dataclasses.replace(found, influence=np.full_like(found.influence, 0.004))
    assert constant.top_patches() == ([], [])


def test_paper_and_ink():
    pixels = np.full((100, 100, 3), (250, 240, 200), np.uint8)
    pixels[40:44, 10:90] = 20
    np.testing.assert_array_equal(paper_colour(pixels), (250, 240, 200))
    near = near_ink(pixels)
    assert near[41, 50] == 1
    assert near[60, 50] == 0


def test_colours_are_white_at_nothing_and_differ_in_lightness_order_from_none():
    colours = tint(np.array([[-1.0, -0.5, 0.0, 0.5, 1.0]]), True)[0].astype(int)
    assert (colours[2] == 255).all()
    assert colours[0][2] > colours[0][0]  # blue
    assert colours[4][0] > colours[4][2]  # vermilion
    assert (np.diff(colours.sum(axis=1)[2:]) < 0).all()


def test_html_is_one_file_without_network(explainer, page, tmp_path):
    found = explain_page(explainer, page, SETTINGS)
    text = write_html(found, SETTINGS, tmp_path / "page.html", "a <model>").read_text()
    assert not re.search(r"(src|href)=[\"']?(https?:)?//|url\(|@import|fetch\(", text)
    assert "default-src 'none'" in text
    assert "page &lt;1&gt;.png" in text
    assert "a &lt;model&gt;" in text
    assert text.count("data:image/") == 2
    assert '"influence"' in text
    for control in ("showMap", "showPaper", "showPatches", "strength", "ArrowLeft"):
        assert control in text


class TestCommand:
    @pytest.fixture(scope="class")
    def bundle(self, tmp_path_factory):
        keras.utils.set_random_seed(0)
        built = build_age_model("resnet10", ModelConfig(weights="none"), 48, 1, median=20.0)
        head = built.predictor.get_layer("head_output")
        head.kernel.assign(np.random.default_rng(0).normal(size=head.kernel.shape))
        path = tmp_path_factory.mktemp("run") / "resnet10.keras"
        save_bundle(path, built.predictor, {"kind": "age", "name": "resnet10", "pages": to_dict(SETTINGS)})
        return path

    def test_writes_both_files_and_says_which_page_failed(self, bundle, page, tmp_path, capsys):
        bad = tmp_path / "bad.png"
        bad.write_bytes(b"not a page")
        out = tmp_path / "out"
        assert main(["explain", str(bundle), str(page), str(bad), "--out", str(out)]) == 2
        printed = capsys.readouterr().out
        assert "bad.png\terror:" in printed
        assert "years" in printed
        assert {file.suffix for file in out.iterdir()} == {".png", ".html"}
        with Image.open(out / "page <1>.png") as picture:
            assert picture.width > 192

    def test_refuses_what_cannot_be(self, bundle, page, tmp_path, capsys):
        assert main(["explain", str(bundle), str(page), "--method", "attention_rollout"]) == 2
        assert "resnet10 has no attention_rollout" in capsys.readouterr().err
        assert main(["explain", str(tmp_path / "none.keras"), str(page)]) == 2
        assert "There is no model" in capsys.readouterr().err
        assert main(["explain", str(bundle), str(page), "--layers", "9"]) == 2
