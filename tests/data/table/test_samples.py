"""The table of pages, from every folder that people have."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from age_keras.config.columns import ColumnNames
from age_keras.data.table.gather import gather
from age_keras.data.table.samples import Samples, read_samples, samples_of
from age_keras.errors import InputError


def page(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (12, 10), np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Six pages of three writers, without labels."""
    for number in range(6):
        page(tmp_path / "pages" / f"p{number}.png", number)
    return tmp_path


def label(folder: Path, text: str, name: str = "labels.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


ROWS = "".join(f"pages/p{n}.png,{20 + n // 2},w{n // 2}\n" for n in range(6))


def test_a_folder_with_labels(folder):
    samples = read_samples(label(folder, "image,age,writer\n" + ROWS))
    assert list(samples.table) == ["ImageID", "Age", "Writer"]
    assert list(samples.table["ImageID"]) == [f"pages/p{n}.png" for n in range(6)]
    assert samples.table["Age"].dtype == np.float64
    assert list(samples.table["Age"]) == [20, 20, 21, 21, 22, 22]
    assert list(samples.table["Writer"]) == ["w0", "w0", "w1", "w1", "w2", "w2"]
    assert all(path.is_file() for path in samples.paths)
    assert samples.skipped == ()
    assert samples.warnings == ()
    assert len(samples) == 6


@pytest.mark.parametrize(
    "header", ["File,Age,WriterNumber", "path,AGE,writer_id", "filename,age,Writer", " IMAGE ,age,writer"]
)
def test_usual_names_in_any_case(folder, header):
    assert list(read_samples(label(folder, header + "\n" + ROWS)).table) == ["ImageID", "Age", "Writer"]


def test_columns_by_name_and_by_none(folder):
    label(folder, "scan,years,hand_of,split\n" + ROWS.replace("\n", ",nonsense\n"))
    chosen = ColumnNames(file="scan", age="years", writer="hand_of", split="")
    assert list(read_samples(folder, columns=chosen).table) == ["ImageID", "Age", "Writer", "split"]


def test_further_columns_pass_through(folder):
    rows = "".join(line + ",2,F,L,school,S7,3\n" for line in ROWS.splitlines())
    label(folder, "image,age,writer,AgeGroup,gender,hand,source,SourceId,PublishedFold\n" + rows)
    table = read_samples(folder).table
    assert list(table)[3:] == ["Sex", "AgeGroup", "Fold", "Hand", "Source", "SourceId"]
    assert table.loc[0, ["Sex", "AgeGroup", "Fold", "Hand", "Source", "SourceId"]].tolist() == [
        "F",
        2,
        3,
        "L",
        "school",
        "S7",
    ]
    assert table["AgeGroup"].dtype == table["Fold"].dtype == np.int64


@pytest.mark.parametrize("kind", ["tsv", "semicolon", "xlsx", "parquet", "bom"])
def test_every_kind_of_table(folder, kind):
    table = pd.DataFrame(
        {
            "File": [f"pages/p{n}.png" for n in range(6)],
            "Age": [20.5, 20.5, 30, 30, 41, 41],
            "WriterNumber": [11, 11, 12, 12, 7, 7],
        }
    )
    if kind == "xlsx":
        table.astype({"WriterNumber": float}).to_excel(folder / "labels.xlsx", index=False)
    elif kind == "parquet":
        table.to_parquet(folder / "LABELS.parquet")
    elif kind == "bom":
        table.to_csv(folder / "labels.csv", index=False, encoding="utf-8-sig")
    else:
        table.to_csv(folder / ("labels.tsv" if kind == "tsv" else "labels.csv"), index=False, sep=";\t"[kind == "tsv"])
    read = read_samples(folder).table
    assert list(read["Age"]) == [20.5, 20.5, 30, 30, 41, 41]
    assert list(read["Writer"]) == ["11", "11", "12", "12", "7", "7"]


def test_labels_elsewhere(folder, tmp_path_factory):
    other = label(tmp_path_factory.mktemp("other"), "image,age,writer\n" + ROWS, "mine.csv")
    assert len(read_samples(folder, labels=other / "mine.csv")) == 6


HHD = [("w11_F_2_form1.tif", "TRAIN", 20), ("w11_F_2_form2.tif", "Train", 20), ("w7_M_4_form1.tif", "VAL", 56)]


@pytest.mark.parametrize("top", ["", "AgeAnnotations_and_Split"])
def test_hhd_as_unpacked(tmp_path, top):
    root = tmp_path / top
    for seed, (name, split, _) in enumerate([*HHD, ("w8_NA_1_form1.tif", "test", 9)]):
        page(root / split.lower() / name, seed)
        (root / split.lower() / "desktop.ini").write_text("x")
    rows = "".join(f"{name},{name.split('_')[2]},{split},{age}\n" for name, split, age in HHD)
    label(root, "File,AgeGroup,Set,Age\n" + rows + "w8_NA_1_form1.tif,1,test,9\n", "AgeAnnotations_and_Split.csv")
    (root / "desktop.ini").write_text("x")
    (tmp_path / "desktop.ini").write_text("x")
    samples = read_samples(tmp_path)
    assert samples.root == root
    assert list(samples.table["ImageID"])[::3] == ["train/w11_F_2_form1.tif", "test/w8_NA_1_form1.tif"]
    assert list(samples.table["Writer"]) == ["11", "11", "7", "8"]
    assert list(samples.table["Split"]) == ["train", "train", "val", "test"]
    assert list(samples.table["Sex"]) == ["F", "F", "M", ""]
    assert list(samples.table["AgeGroup"]) == [2, 2, 4, 1]
    assert samples.warnings == ()


def test_a_folder_without_labels_is_for_prediction_only(folder):
    (folder / "notes.txt").write_text("x")
    (folder / "__MACOSX").mkdir()
    page(folder / "__MACOSX" / "x.png", 0)
    samples = read_samples(folder, require_age=False)
    assert list(samples.table["ImageID"]) == [f"pages/p{n}.png" for n in range(6)]
    assert samples.table["Age"].isna().all()
    with pytest.raises(InputError, match=r"has no labels file: put labels\.csv"):
        read_samples(folder)


def test_prediction_does_not_ask_for_ages_or_writers(folder):
    label(folder, "image\n" + "".join(f"pages/p{n}.png\n" for n in range(6)))
    assert len(read_samples(folder, require_age=False)) == 6
    with pytest.raises(InputError, match=r"has no column of ages: give --columns\.age"):
        read_samples(folder)


def test_images_and_folders_to_predict_on(folder):
    samples = samples_of([folder / "pages", folder / "pages" / "p1.png"])
    assert len(samples) == 6
    assert all(path.is_file() for path in samples.paths)
    assert len(samples_of([folder / "pages" / "p1.png"])) == 1
    (folder / "a.txt").write_text("x")
    for wrong, message in [("nothing.png", "There is no page"), ("a.txt", "is not a page")]:
        with pytest.raises(InputError, match=message):
            samples_of([folder / wrong])
    with pytest.raises(InputError, match="No page was given"):
        samples_of([])


def test_subset_is_renumbered(folder):
    samples = read_samples(label(folder, "image,age,writer\n" + ROWS))
    part = samples.subset(samples.table["Writer"] == "w2")
    assert list(part.table.index) == [0, 1]
    assert list(part.table["ImageID"]) == ["pages/p4.png", "pages/p5.png"]


def test_the_fingerprint_follows_table_and_content_but_not_the_place(folder, tmp_path_factory):
    first = read_samples(label(folder, "image,age,writer\n" + ROWS)).fingerprint
    assert read_samples(folder).fingerprint == first
    moved = tmp_path_factory.mktemp("moved") / "x"
    folder.rename(moved)
    assert read_samples(moved).fingerprint == first
    page(moved / "pages" / "p0.png", 99)
    changed = read_samples(moved).fingerprint
    assert changed != first
    assert read_samples(label(moved, "image,age,writer\n" + ROWS.replace("20", "19"))).fingerprint != changed


def test_doubts_are_logged_and_kept(folder, caplog):
    with caplog.at_level(logging.WARNING, "age_keras"):
        samples = read_samples(label(folder, "image,age\n" + "".join(f"pages/p{n}.png,{n}\n" for n in range(6))))
    assert list(samples.table["Writer"]) == list(samples.table["ImageID"])
    assert len(samples.warnings) == 1
    assert "there is no writer column" in samples.warnings[0]
    assert samples.warnings[0] in caplog.text


# Every table that cannot be read: what is in it, and what is said.
TABLES = {
    "no file column": (
        "page_number,age\n1,2\n",
        r"has no column ImageID .*; it has 'page_number', 'age'\. Choose one by --columns\.file",
    ),
    "two file columns": (
        "image,path,age\na,b,3\n",
        "the columns 'image' and 'path' both mean ImageID; remove or rename one, or choose by --columns.file",
    ),
    "two of a name": ("image,age,age\na,1,2\n", "has more than one column 'age': rename one"),
    "empty": ("", "has no rows"),
    "header only": ("image,age\n", "has no rows"),
    "decimal comma": (
        "image,age\npages/p0.png,12,5\n",
        "line 2 has 3 cells, the header 2; put a cell that holds a ',' in quotation marks",
    ),
    "fold": ("image,age,fold\npages/p0.png,12,x\n", "row 1 has the fold 'x', which is not a whole number"),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_that_cannot_be_read_says_why(folder, case):
    content, message = TABLES[case]
    with pytest.raises(InputError, match=message):
        read_samples(label(folder, content))


def test_damaged_tables_say_why(folder):
    (folder / "labels.csv").write_bytes("image,age\npages/é.png,3\n".encode("latin-1"))
    with pytest.raises(InputError, match="is not UTF-8 text: save it as UTF-8 csv"):
        read_samples(folder)
    for kind in ("xlsx", "parquet"):
        (folder / f"x.{kind}").write_bytes(b"nothing of the kind")
        with pytest.raises(InputError, match=rf"x\.{kind} cannot be read as a {kind} table"):
            read_samples(folder, labels=folder / f"x.{kind}")
    with pytest.raises(InputError, match="is not a table that can be read"):
        read_samples(folder, labels=folder / "pages" / "p0.png")
    with pytest.raises(InputError, match="There is no file"):
        read_samples(folder, labels=folder / "gone.csv")


def test_a_column_asked_for_that_is_not_there(folder):
    label(folder, "image,age,writer\n" + ROWS)
    with pytest.raises(
        InputError, match=r"has no column 'years' \(asked for by --columns\.age\); it has 'image', 'age', 'writer'"
    ):
        read_samples(folder, columns=ColumnNames(age="years"))


def test_folders_that_are_none(tmp_path):
    with pytest.raises(InputError, match="does not exist: give the folder of the pages"):
        read_samples(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file, not a folder"):
        read_samples(tmp_path / "file")
    with pytest.raises(InputError, match="has neither a labels file"):
        read_samples(tmp_path, require_age=False)


def test_more_than_one_table_is_not_guessed(folder):
    label(folder, "image,age\n", "a.csv")
    label(folder, "image,age\n", "b.csv")
    with pytest.raises(InputError, match=r"more than one table \(a\.csv, b\.csv\): choose the labels by --labels"):
        read_samples(folder)
    label(folder, "image,age,writer\n" + ROWS)  # labels.csv is the one
    assert len(read_samples(folder)) == 6


@pytest.mark.parametrize("skip_bad", [False, True])
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../out.png", "pages/../../out.png", "C:\\x.png", "..\\out.png", "link.png"]
)
def test_a_path_never_leaves_the_folder(folder, path, skip_bad):
    page(folder.parent / "out.png", 0)
    if path == "link.png":
        os.symlink(folder.parent / "out.png", folder / path)
    with pytest.raises(InputError, match="1 page lies outside the folder: "):
        read_samples(label(folder, "image,age,writer\n" + ROWS + f"{path},30,w9\n"), skip_bad=skip_bad)


def test_links_to_folders_do_not_lead_outside_either(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    page(other / "p.png", 0)
    os.symlink(other, folder / "more")
    with pytest.raises(InputError, match="lies outside the folder: more/p"):
        read_samples(label(folder, "image,age,writer\nmore/p.png,30,w9\n"))
    os.symlink(folder, other / "root")  # a folder that is itself reached by a link is fine
    assert len(read_samples(label(other / "root", "image,age,writer\n" + ROWS))) == 6


def test_what_stops_a_run_is_said_all_at_once(folder):
    label(folder, "image,age,writer\n" + ROWS + "gone.png,30,w8\npages/p0.png,20,w0\n")
    with pytest.raises(InputError) as raised:
        read_samples(folder)
    said = str(raised.value)
    assert "1 page is missing: gone.png" in said
    assert "1 row lists a page that was listed before: pages/p0.png" in said
    assert "`age-keras data check" in said
    assert "--skip-bad" in said


def test_skip_bad_records_each_page_left_out(folder):
    bad = "gone.png,30,w8\npages/p0.png,20,w0\n,20,w0\n"
    label(folder, "image,age,writer\n" + ROWS.replace("21", "x", 1) + bad)
    samples = read_samples(folder, skip_bad=True)
    assert list(samples.table["ImageID"]) == [f"pages/p{n}.png" for n in (0, 1, 3, 4, 5)]
    assert list(samples.table.index) == [0, 1, 2, 3, 4]
    assert samples.skipped == (
        ("pages/p2.png", "has an age that is not a number: x"),
        ("gone.png", "is missing"),
        ("pages/p0.png", "is listed before"),
        ("row 9", "is missing"),
    )


def test_nothing_left_is_an_error(folder):
    with pytest.raises(InputError, match="no page is left: 1 page is missing: gone"):
        read_samples(label(folder, "image,age,writer\ngone.png,30,w8\n"), skip_bad=True)


def test_contradicting_rows_of_a_page_are_all_left_out(folder):
    label(folder, "image,age,writer\n" + ROWS + "pages/p0.png,50,w0\n")
    samples = read_samples(folder, skip_bad=True)
    assert "pages/p0.png" not in set(samples.table["ImageID"])
    assert samples.skipped[0] == ("pages/p0.png", "is listed twice, with different labels")


def test_real_pages(shared_data):
    samples = read_samples(shared_data / "handwriting_age")
    assert len(samples) == 672
    assert samples.table["Writer"].nunique() == 289
    assert list(samples.table) == ["ImageID", "Age", "Writer", "Sex", "Hand", "Source"]
    assert samples.skipped == ()


def test_no_tensorflow_on_this_side():
    code = (
        "import sys, age_keras.data.table.samples, age_keras.data.table.check;"
        "import age_keras.data.patches.store, age_keras.data.hhd.dataset;"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'sklearn', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_samples_can_be_made_by_hand(folder):
    table = pd.DataFrame({"ImageID": ["pages/p0.png"], "Age": [3.0], "Writer": ["a"]})
    assert Samples(folder, table).paths == [folder / "pages" / "p0.png"]


def test_every_hhd_name_gives_its_writer(shared_data, tmp_path):
    labels = pd.read_csv(shared_data / "hhd" / "labels.csv")
    labels[["File", "AgeGroup", "Set", "Age"]].to_csv(tmp_path / "labels.csv", index=False)
    table = gather(tmp_path).table
    assert list(table["Writer"]) == list(labels["WriterNumber"].astype(str))
    assert table["Sex"].value_counts()[""] == 6  # NA in the name
