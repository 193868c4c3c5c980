"""The synthetic cohort: its layout, its pages, and that the same seed always gives the same."""

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from age_keras.cli import main
from age_keras.data.synthetic.cohort import LABELS, MARKER, is_synthetic, plan, synthesize
from age_keras.data.synthetic.hebrew_strokes import FINAL_FORMS, FREQUENCIES, LETTERS, pseudo_words, spline_basis
from age_keras.data.synthetic.page import draw_page
from age_keras.data.synthetic.scan import stamp_discs
from age_keras.data.synthetic.writer import age_at, age_group, draw_style
from age_keras.errors import InputError


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return synthesize(tmp_path_factory.mktemp("synthetic") / "cohort", writers=5, seed=19, progress=False, workers=1)


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _labels(folder: Path) -> list[dict[str, str]]:
    with open(folder / LABELS, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_folder_is_laid_out_as_hhd(cohort):
    rows = _labels(cohort)
    assert list(rows[0]) == ["File", "AgeGroup", "Set", "Age"]
    on_disk = {f.relative_to(cohort).as_posix() for f in cohort.rglob("*.tif")}
    assert on_disk == {f"{row['Set']}/{row['File']}" for row in rows}
    for row in rows:
        writer, sex, group, form = row["File"].removesuffix(".tif").split("_")
        assert (writer[0], form[:4], sex in "FM") == ("w", "form", True)
        assert group == row["AgeGroup"] == str(age_group(float(row["Age"])))


def test_pages_are_grey_scans_with_writing(cohort):
    for path in cohort.rglob("*.tif"):
        with Image.open(path) as image:
            assert (image.format, image.mode, image.info["dpi"][0]) == ("TIFF", "L", 150)
            assert 1200 < image.width < 1280
            assert 1700 < image.height < 1800
            pixels = np.asarray(image)
        dark = (pixels < 0.75 * np.median(pixels)).mean()
        assert 0.005 < dark < 0.2
        assert np.median(pixels) > 200


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(cohort, tmp_path):
    again = synthesize(tmp_path / "again", writers=5, seed=19, progress=False, workers=2)
    assert _hashes(again) == _hashes(cohort)


def test_another_seed_gives_other_people():
    assert [p.age for p in plan(40, 0)] != [p.age for p in plan(40, 1)]


def test_a_writer_does_not_depend_on_how_many_follow():
    few = {(p.writer, p.form): (p.age, p.sex) for p in plan(30, 0)}
    many = {(p.writer, p.form): (p.age, p.sex) for p in plan(200, 0)}
    assert few.items() <= many.items()


@pytest.mark.parametrize("seed", range(6))
def test_the_default_size_has_usable_splits_and_bands(seed):
    pages = plan(120, seed)
    assert 150 <= len(pages) <= 220
    writers = {p.writer: p for p in pages}
    assert len(writers) == 120
    split_of = {(p.writer, p.split) for p in pages}
    assert len(split_of) == 120, "a writer is in two splits"
    share = {s: sum(p.split == s for p in pages) / len(pages) for s in ("train", "val", "test")}
    assert share["train"] == pytest.approx(648 / 882, abs=0.03)
    assert share["val"] == pytest.approx(118 / 882, abs=0.03)
    assert share["test"] == pytest.approx(116 / 882, abs=0.03)
    for split, least in (("train", 4), ("val", 1), ("test", 1)):
        assert sum(w.split == split and w.age > 50 for w in writers.values()) >= least
    ages = [w.age for w in writers.values()]
    assert 14 <= np.median(ages) <= 16
    assert min(ages) <= 10
    assert 80 <= max(ages) <= 91
    counts = np.bincount([p.writer for p in pages])[1:]
    assert (counts == 1).mean() > 0.7
    assert 5 <= counts.max() <= 10


@pytest.mark.parametrize("writers", [5, 6, 9, 20])
def test_a_small_cohort_has_all_three_splits(writers):
    for seed in range(10):
        pages = plan(writers, seed)
        assert {p.split for p in pages} == {"train", "val", "test"}
        assert len({(p.writer, p.split) for p in pages}) == writers


def test_ages_run_from_8_to_91():
    ages = [age_at(q) for q in np.linspace(0, 0.99999, 2001)]
    assert (ages[0], ages[-1]) == (8, 91)
    assert ages == sorted(ages)


def test_sex_is_drawn_apart_from_age():
    writers = {p.writer: p for p in plan(3000, 0)}.values()
    female = np.array([w.sex == "F" for w in writers])
    ages = np.array([w.age for w in writers])
    assert abs(np.corrcoef(female, ages)[0, 1]) < 0.06
    assert 0.45 < female.mean() < 0.55


def test_paper_pen_and_scanner_do_not_depend_on_age():
    young, old = (draw_style(np.random.default_rng(5), age) for age in (9, 85))
    for name in ("ink_tone", "ink_grain", "paper_tone", "paper_grain", "rule_gap", "rule_strength", "margins",
                 "margin_drift", "page_size", "blur", "scan_noise", "shading"):  # fmt: skip
        assert getattr(young, name) == getattr(old, name), name


def test_hands_of_all_ages_overlap():
    def traits(age):
        styles = [draw_style(np.random.default_rng([age, k]), age) for k in range(150)]
        return {
            name: np.log([getattr(s, name) for s in styles])
            for name in ("x_height", "baseline_noise", "size_noise", "tremor", "ink")
        }

    child, adult, old = traits(9), traits(30), traits(75)
    assert child["x_height"].mean() > adult["x_height"].mean() > old["x_height"].mean()
    assert old["ink"].mean() < adult["ink"].mean()
    assert old["tremor"].mean() > adult["tremor"].mean()
    for name in ("baseline_noise", "size_noise"):
        assert child[name].mean() > adult[name].mean() < old[name].mean()
    for name in adult:  # Somebody of thirty writes as most of the old do.
        assert min(adult[name]) < np.median(old[name]) < max(adult[name])


def test_a_writers_pages_share_the_style_and_differ_in_text():
    style = draw_style(np.random.default_rng(1), 30)
    first, second = (draw_page(style, np.random.default_rng(k)) for k in (1, 2))
    assert first.shape == second.shape
    assert np.corrcoef(first.ravel() < 160, second.ravel() < 160)[0, 1] < 0.3


def test_stamped_discs_have_exact_area_and_do_not_add_up():
    at = np.array([10.3, 10.3])
    page = stamp_discs((21, 21), at, at, np.array([3.0, 3.0]), np.array([1.0, 0.5]))
    assert page.max() == 1
    assert page.sum() == pytest.approx(np.pi * 9, rel=0.03)
    centre = (page * np.arange(21)).sum() / page.sum()
    assert centre == pytest.approx(10.3, abs=0.05)


def test_every_letter_has_a_skeleton_and_splines_pass_through_it():
    assert set(FREQUENCIES) | set(FINAL_FORMS.values()) <= set(LETTERS)
    assert len(FREQUENCIES) + len(FINAL_FORMS) == 27
    for letter in LETTERS.values():
        for stroke in letter.strokes:
            curve = spline_basis(len(stroke), 9) @ np.array(stroke)
            np.testing.assert_allclose(curve[::9], stroke, atol=1e-12)


def test_pseudo_words_use_final_forms_only_at_the_end():
    words = [w.strip(".,") for w in pseudo_words(np.random.default_rng(0), 3000)]
    assert not any(c in FINAL_FORMS.values() for w in words for c in w[:-1])
    assert not any(w[-1] in FINAL_FORMS for w in words if len(w) > 1)
    text = "".join(words)
    assert text.count("י") / len(text) == pytest.approx(0.111, abs=0.01)


def test_the_marker_says_synthetic(cohort, tmp_path):
    assert json.loads((cohort / MARKER).read_text())["writers"] == 5
    assert is_synthetic(cohort)
    assert not is_synthetic(tmp_path)
    assert not is_synthetic(tmp_path / "missing")
    (tmp_path / MARKER).write_text("not json")
    assert not is_synthetic(tmp_path)


def test_a_finished_cohort_is_left_alone(cohort, capsys):
    before = {f: f.stat().st_mtime_ns for f in cohort.rglob("*")}
    synthesize(cohort, writers=5, seed=19, progress=False)
    assert "nothing to do" in capsys.readouterr().err
    assert {f: f.stat().st_mtime_ns for f in cohort.rglob("*")} == before


def test_what_is_in_the_way_is_refused(cohort, tmp_path):
    with pytest.raises(InputError, match=r"another synthetic cohort \(seed 19, not 4\)"):
        synthesize(cohort, writers=5, seed=4, progress=False)
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        synthesize(tmp_path, writers=5, progress=False)
    with pytest.raises(InputError, match="is a file"):
        synthesize(tmp_path / "mine.txt", writers=5, progress=False)
    assert [f.name for f in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("setting", [{"writers": 4}, {"writers": 10**6}, {"seed": -1}, {"workers": 0}])
def test_a_setting_out_of_range_is_named(setting, tmp_path):
    with pytest.raises(InputError, match=next(iter(setting))):
        synthesize(tmp_path / "cohort", progress=False, **setting)
    assert not any(tmp_path.iterdir())


def test_an_interrupted_cohort_goes_on(cohort, tmp_path, monkeypatch):
    from age_keras.data.synthetic import cohort as synthetic

    draw, drawn = synthetic._draw_file, []

    def stops_at_the_third(folder, page, seed):
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(page.name)
        draw(folder, page, seed)

    monkeypatch.setattr(synthetic, "_draw_file", stops_at_the_third)
    folder = tmp_path / "cohort"
    with pytest.raises(KeyboardInterrupt):
        synthesize(folder, writers=5, seed=19, progress=False, workers=1)
    assert not folder.exists()
    rest = []
    monkeypatch.setattr(synthetic, "_draw_file", lambda *a: (rest.append(a[1].name), draw(*a)))
    synthesize(folder, writers=5, seed=19, progress=False, workers=1)
    assert not set(rest) & set(drawn)
    assert _hashes(folder) == _hashes(cohort)
    assert [f.name for f in tmp_path.iterdir()] == ["cohort"]


def test_the_command_draws_and_shows(cohort, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["data", "synthesize", str(cohort), "--writers", "5", "--seed", "19", "--preview", str(sheet)]) == 0
    with Image.open(sheet) as image:
        assert image.width > 1500
    assert main(["data", "synthesize", str(tmp_path / "c"), "--preview", str(tmp_path / "sheet.jpg")]) == 2
    assert ".png" in capsys.readouterr().err
    assert main(["data", "synthesize", str(tmp_path / "c"), "--writers", "2"]) == 2
    assert "writers" in capsys.readouterr().err


def test_no_tensorflow_is_imported():
    modules = "age_keras.data.synthetic.cohort, age_keras.data.synthetic.preview"
    code = f"import sys, {modules}; print('tensorflow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
