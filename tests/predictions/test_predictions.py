"""Reading predictions in every layout, and lining models up."""

import numpy as np
import pandas as pd
import pytest

from age_keras.errors import InputError
from age_keras.predictions.alignment import align
from age_keras.predictions.table import COLUMNS, read_predictions, select, write_predictions


def table(**columns) -> pd.DataFrame:
    n = 4
    base = {"ImageID": [f"p{i}.png" for i in range(n)], "TrueAge": [10.0, 20.0, 30.0, 40.0]}
    return pd.DataFrame({**base, **columns})


def csv(tmp_path, frame, name="p.csv"):
    path = tmp_path / name
    frame.to_csv(path, index=False)
    return path


def test_wide_equals_long(tmp_path):
    wide = table(A=[1.0, 2, 3, 4], B=[5.0, 6, 7, 8])
    long = pd.concat([wide[["ImageID", "TrueAge"]].assign(Model=m, Prediction=wide[m]) for m in "AB"])
    one = align(read_predictions(csv(tmp_path, wide)))
    two = align(read_predictions(csv(tmp_path, long, "q.csv")))
    assert one.models == two.models == ("A", "B")
    np.testing.assert_array_equal(one.predictions, two.predictions)
    np.testing.assert_array_equal(one.predictions, [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_a_single_model_takes_the_name_of_the_file(tmp_path):
    frame = read_predictions(csv(tmp_path, table(Prediction=[1, 2, 3, 4]), "resnet.csv"))
    assert set(frame.Model) == {"resnet"}
    assert set(frame.Split) == {"test"}
    assert list(frame.columns[:7]) == list(COLUMNS)


@pytest.mark.parametrize("suffix", ["tsv", "xlsx", "parquet"])
def test_other_formats_and_usual_names(tmp_path, suffix):
    frame = table(Prediction=[1.5, 2, 3, 4], writer_id=[7, 7, 8, 9]).rename(
        columns={"ImageID": "filename", "TrueAge": "age", "Prediction": "y_pred"}
    )
    path = tmp_path / f"p.{suffix}"
    write = {
        "tsv": lambda: frame.to_csv(path, sep="\t", index=False),
        "xlsx": lambda: frame.to_excel(path, index=False),
    }
    write.get(suffix, lambda: frame.to_parquet(path))()
    read = read_predictions(path)
    assert read.Prediction.tolist() == [1.5, 2, 3, 4]
    assert read.Writer.tolist() == ["7", "7", "8", "9"]
    assert read.attrs["writers"] == "column"


def test_semicolons_and_decimal_commas(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("ImageID;TrueAge;Prediction\na;10,5;11\nb;20;19,25\n", encoding="utf-8")
    assert read_predictions(path).TrueAge.tolist() == [10.5, 20]


def test_writers_and_sex_from_hhd_names(tmp_path):
    frame = table(Prediction=[1, 2, 3, 4])
    frame["ImageID"] = ["w11_F_2_form1.tif", "test/w11_F_2_form2.tif", "w7_M_1_form3.tif", "w8_NA_1_form3.tif"]
    read = read_predictions(csv(tmp_path, frame))
    assert read.Writer.tolist() == ["11", "11", "7", "8"]
    assert read.Sex.fillna("").tolist() == ["F", "F", "M", ""]
    assert read.attrs["writers"] == "name"


def test_unknown_writers_are_their_pages(tmp_path):
    read = read_predictions(csv(tmp_path, table(Prediction=[1, 2, 3, 4])))
    assert read.Writer.tolist() == read.ImageID.tolist()
    assert read.attrs["writers"] == "page"


def test_written_and_read_again(tmp_path):
    frame = read_predictions(csv(tmp_path, table(A=[1.1, 2, 3, 4], Fold=[1, 1, 2, 2], Sex=list("FMFM"))))
    write_predictions(tmp_path / "run" / "predictions.csv", frame)
    again = read_predictions(tmp_path / "run")
    pd.testing.assert_frame_equal(again, frame, check_dtype=False)
    assert set(again.Split) == {"oof"}


def test_a_page_that_one_model_lacks_is_left_out_for_all(tmp_path):
    got = align(read_predictions(csv(tmp_path, table(A=[1.0, 2, 3, 4], B=[1.0, np.nan, 3, 4]))))
    assert got.predictions.shape == (2, 3)
    assert got.missing == {"B": 1}


def test_repeated_rows_are_averaged_and_counted(tmp_path):
    frame = table(Prediction=[1.0, 2, 3, 4])
    got = align(read_predictions(csv(tmp_path, pd.concat([frame, frame.assign(Prediction=[3.0, 2, 3, 4])]))))
    assert got.repeated == 4
    assert got.predictions.tolist() == [[2, 2, 3, 4]]


def test_select_split_and_models(tmp_path):
    frame = read_predictions(
        csv(tmp_path, table(A=[1.0, 2, 3, 4], B=[1.0, 2, 3, 4], Set=["Val", "val", "TEST", "train"]))
    )
    assert set(select(frame).Split) == {"test"}
    assert len(select(frame, "val", ["A"])) == 2
    with pytest.raises(InputError, match="no rows of the split 'oof'; they have test, train, val"):
        select(frame, "oof")
    with pytest.raises(InputError, match="no model 'C'; they have A, B"):
        select(frame, None, ["C"])


BAD = {
    "no column TrueAge": lambda f: f.drop(columns="TrueAge"),
    "no column ImageID": lambda f: f.drop(columns="ImageID"),
    "no predictions": lambda f: f[["ImageID", "TrueAge"]],
    "has no rows": lambda f: f.head(0),
    r"TrueAge must be a number; data row 2 \(page p1.png\) has 'old'": lambda f: f.assign(TrueAge=[1, "old", 3, 4]),
    "TrueAge must be a number; data row 1 .* has no value": lambda f: f.assign(TrueAge=[np.nan, 1, 3, 4]),
    "Prediction must be a number; data row 3 .* has 'x'": lambda f: f.assign(Prediction=[1, 2, "x", 4]),
    "Prediction must be a number; .* 'inf'": lambda f: f.assign(Prediction=[1, 2, np.inf, 4]),
    "Fold must be a whole number": lambda f: f.assign(Fold=[1, 1.5, 2, 2]),
    "true age 400; ages are years": lambda f: f.assign(TrueAge=[400, 1, 3, 4]),
    "both mean Writer": lambda f: f.assign(writer_id=1, WriterNumber=1),
    "a column Model but no column Prediction": lambda f: f.drop(columns="Prediction").assign(Model="A"),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_tables_are_one_clear_sentence(tmp_path, message):
    path = csv(tmp_path, BAD[message](table(Prediction=[1.0, 2, 3, 4])))
    with pytest.raises(InputError, match=message) as caught:
        read_predictions(path)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    for name, content, message in [
        ("none.csv", None, "There is no file"),
        ("empty.csv", "", "has no rows"),
        ("p.pdf", "x", "give a csv, tsv, xlsx or parquet file"),
        ("p.xlsx", "not a workbook", "cannot be read as a xlsx table"),
        ("p.parquet", "no", "cannot be read as a parquet table"),
    ]:
        path = tmp_path / name
        if content is not None:
            path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_predictions(path)
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"has no predictions.csv"):
        read_predictions(tmp_path / "run")


def test_two_true_ages_of_one_page(tmp_path):
    frame = pd.concat([table(Model="A", Prediction=1.0), table(Model="B", Prediction=1.0, TrueAge=[10.0, 21, 30, 40])])
    with pytest.raises(InputError, match=r"Page p1.png has two true ages: 20 and 21"):
        align(read_predictions(csv(tmp_path, frame)))
