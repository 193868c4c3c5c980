"""`age-keras data check`: every problem at once, with its message, and what a run makes of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from age_keras import cli
from age_keras.data.table.check import check_folder
from age_keras.data.table.samples import read_samples
from age_keras.errors import InputError

HEADER = "image,age,writer,set,AgeGroup"


def page(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (12, 10), np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for number in range(8):
        page(tmp_path / f"p{number}.png", number)
    (tmp_path / "broken.png").write_bytes((tmp_path / "p0.png").read_bytes()[:60])
    shutil.copy(tmp_path / "p0.png", tmp_path / "copy.png")
    return tmp_path


def label(folder: Path, *rows: str, header: str = HEADER) -> Path:
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


GOOD = ("p0.png,12,a,train,1", "p1.png,20,b,val,2", "p2.png,30,c,test,3", "p3.png,60,d,train,4")

# code: (rows added to the good ones, severity, count, message, rows left out by --skip-bad)
CASES = {
    "missing": (["gone.png,20,e,train,2"], "error", 1, "1 page is missing: gone.png", 1),
    "outside": (["../x.png,20,e,train,2"], "error", 1, "1 page lies outside the folder: ../x.png", None),
    "unreadable": (
        ["broken.png,20,e,train,2"],
        "error",
        1,
        "1 page cannot be read: broken.png (cannot be decoded: ",
        0,
    ),
    "duplicate": (["p0.png,12,a,train,1"], "error", 1, "1 row lists a page that was listed before: p0.png", 1),
    "age_absent": (["p4.png,,e,train,", "p5.png,n/a,f,train,"], "error", 2, "2 pages have no age: p4.png, p5.png", 2),
    "age_not_a_number": (
        ["p4.png,old,e,train,2", "p5.png,inf,f,train,2"],
        "error",
        2,
        "2 pages have an age that is not a number: p4.png (old), p5.png (inf)",
        2,
    ),
    "age_outside": (
        ["p4.png,-1,e,train,1", "p5.png,120.5,f,train,4", "p6.png,120,g,train,4", "p7.png,0,h,train,1"],
        "error",
        2,
        "2 pages have an age outside 0–120: p4.png (-1), p5.png (120.5)",
        2,
    ),
    "writer_absent": (["p4.png,20,,train,2"], "error", 1, "1 page has no writer: p4.png", 1),
    "writer_two_ages": (["p4.png,14.5,a,train,1"], "warning", 1, "1 writer has two ages or more", 0),
    "writer_two_splits": (
        ["p4.png,12,a,train,1", "p5.png,12,a,Test,1"],
        "error",
        1,
        "1 writer is in two splits or more, so that the test is not on unseen writers: a (train, test)",
        1,
    ),
    "split_unknown": (
        ["p4.png,20,e,holdout,2", "p5.png,20,f,,2"],
        "error",
        2,
        "2 pages are in no split (train, val, test): p4.png (holdout), p5.png (none)",
        2,
    ),
    "age_group": (
        ["p4.png,25,e,train,1", "p5.png,16,f,train,1", "p6.png,15.9,g,train,1", "p7.png,51,h,train,3"],
        "warning",
        3,
        "3 pages are in an age group that contradicts the age (1: up to 15, 2: 16–25, 3: 26–50, 4: over 50): "
        "p4.png (group 1, age 25), p5.png (group 1, age 16), p7.png (group 3, age 51)",
        0,
    ),
    "duplicate_content": (
        ["copy.png,12,a,train,1"],
        "warning",
        1,
        "1 picture is there more than once and will count more than once: p0.png = copy.png",
        0,
    ),
    "duplicate_content_labels": (
        ["copy.png,12,e,train,1"],
        "error",
        1,
        "1 picture is listed under more than one writer or age: p0.png = copy.png",
        1,
    ),
}


def found(folder, **options):
    return {problem.code: problem for problem in check_folder(folder, progress=False, **options).problems}


@pytest.mark.parametrize("code", CASES)
def test_each_problem_is_found_alone_and_said(folder, code):
    rows, severity, count, message, _ = CASES[code]
    problems = found(label(folder, *GOOD, *rows))
    assert list(problems) == [code]
    assert problems[code].severity == severity
    assert problems[code].count == count
    assert problems[code].brief().startswith(message)


@pytest.mark.parametrize("code", CASES)
def test_an_error_stops_a_run_and_skip_bad_leaves_the_page_out(folder, code):
    rows, severity, _, message, left_out = CASES[code]
    label(folder, *GOOD, *rows)
    if severity == "error" and code != "unreadable":  # that shows when the page is cut
        with pytest.raises(InputError) as raised:
            read_samples(folder)
        assert message in str(raised.value)
    if left_out is not None:
        samples = read_samples(folder, skip_bad=True)
        assert len(samples.skipped) == left_out
        assert len(samples) == len(GOOD) + len(rows) - left_out


def test_no_writer_column_is_said(folder):
    label(folder, "p0.png,12", "p1.png,20", header="image,age")
    assert found(folder)["no_writer_column"].brief().startswith("there is no writer column: each page counts as")
    label(folder, "p0.png,12", "copy.png,12", header="image,age")  # then a copy could be trained and tested on
    assert found(folder)["duplicate_content_labels"].severity == "error"


def test_a_picture_with_two_ages_is_left_out_altogether(folder):
    label(folder, *GOOD, "copy.png,14,a,train,1")
    assert set(found(folder)) == {"duplicate_content_labels", "writer_two_ages"}
    assert [name for name, _ in read_samples(folder, skip_bad=True).skipped] == ["p0.png", "copy.png"]


def test_a_writer_stays_where_most_pages_are(folder):
    label(folder, *GOOD, "p4.png,20,b,test,2", "p5.png,20,b,test,2")
    samples = read_samples(folder, skip_bad=True)
    assert samples.skipped == (("p1.png", "its writer b is in test too"),)


def test_age_groups_of_somebody_else_are_not_judged(folder):
    assert "age_group" not in found(label(folder, "p0.png,12,a,train,child", "p1.png,20,b,val,adult"))
    assert "age_group" not in found(label(folder, "p0.png,12,a,train,7", "p1.png,20,b,val,9"))


def test_all_problems_come_at_once_and_exit_code_is_2(folder, capsys):
    every = [row for rows, *_ in CASES.values() for row in rows]
    label(folder, *GOOD, *every)
    assert cli.main(["data", "check", str(folder)]) == 2
    out = capsys.readouterr().out
    severities = [line.split()[0] for line in out.splitlines() if line.startswith(("error", "warning"))]
    assert severities == sorted(severities)
    assert set(found(folder)) == set(CASES) - {"duplicate_content"}  # the one copy has two writers now
    assert out.strip().endswith("Errors stop a run; with --skip-bad it leaves these pages out and records each.")


def test_a_good_folder_is_exit_code_0(folder, capsys):
    label(folder, *GOOD)
    assert cli.main(["data", "check", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "4 pages of 4 writers, aged 12 to 60 (median 25), 2 train / 1 val / 1 test" in out
    assert "Nothing is wrong." in out


def test_warnings_alone_are_exit_code_0(folder, capsys):
    label(folder, *GOOD, "copy.png,12,a,train,1")
    assert cli.main(["data", "check", str(folder)]) == 0
    assert "warning  1 picture is there more than once" in capsys.readouterr().out


def test_json_holds_every_case(folder, capsys):
    label(folder, *GOOD, *(f"gone{n}.png,20,e,train,2" for n in range(7)))
    assert cli.main(["data", "check", str(folder), "--json"]) == 2
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] is False
    assert (result["pages"], result["errors"], result["warnings"]) == (11, 1, 0)
    (problem,) = result["problems"]
    assert (problem["code"], problem["severity"], problem["count"]) == ("missing", "error", 7)
    assert problem["examples"] == [f"gone{n}.png" for n in range(7)]


def test_columns_and_labels_by_flag(folder, capsys):
    (folder / "mine.csv").write_text("scan,years,hand_of\np0.png,12,a\n")
    flags = ["--labels", str(folder / "mine.csv"), "--columns.file", "scan", "--columns.age", "years"]
    assert cli.main(["data", "check", str(folder), *flags, "--columns.writer", "hand_of"]) == 0
    assert "1 page of 1 writer," in capsys.readouterr().out


def test_a_folder_without_labels_is_checked_for_prediction(folder, capsys):
    assert cli.main(["data", "check", str(folder)]) == 2  # broken.png
    out = capsys.readouterr().out
    assert "can be predicted on, not trained on" in out
    assert "1 page cannot be read: broken.png" in out
    assert "no age" not in out


def test_no_such_folder_is_exit_code_2(tmp_path, capsys):
    assert cli.main(["data", "check", str(tmp_path / "nothing")]) == 2
    assert "does not exist: give the folder of the pages" in capsys.readouterr().err


def test_the_published_labels_contradict_28_ages(shared_data, capsys):
    assert cli.main(["data", "check", str(shared_data / "hhd"), "--labels-only"]) == 0
    out = capsys.readouterr().out
    assert "882 pages of 562 writers, aged 8 to 60 (median 16), 648 train / 118 val / 116 test" in out
    assert "28 pages are in an age group that contradicts the age" in out
    assert "error" not in out
    assert cli.main(["data", "check", str(shared_data / "hhd")]) == 2
    assert "882 pages are missing" in capsys.readouterr().out
