"""One reader of tables: pages that are trained on and predictions that are judged go by the same names and words."""

import pandas as pd
import pytest

from age_keras.config.columns import ColumnNames
from age_keras.data.table.gather import gather
from age_keras.errors import InputError
from age_keras.predictions.columns import NAMES, HHDName, hhd_names, read_table
from age_keras.predictions.labels import read_labels
from age_keras.predictions.table import read_predictions


def write(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("standard", "name"), [(standard, name) for standard, names in NAMES.items() for name in names]
)
def test_every_usual_name_is_read_in_any_case(tmp_path, standard, name):
    path = write(tmp_path, f"{name.upper()},other\nx,1\n")
    assert list(read_table(path, required=())) == [standard, "other"]


@pytest.mark.parametrize("writer", ["author", "Subject ID", "writer_number"])
def test_training_labels_and_predictions_know_the_same_writers_and_splits(tmp_path, writer):
    text = f"page,ages,{writer},partition,predicted\na.png,9,007,Training,8\nb.png,30,7,dev,31\nc.png,41,8,TESTING,40\n"
    path = write(tmp_path, text)
    trained, labels, judged = gather(tmp_path).table, read_labels(path), read_predictions(path)
    for table in (trained, labels, judged):
        assert list(table.Writer) == ["007", "7", "8"]
        assert list(table.Split) == ["train", "val", "test"]
    assert labels.attrs["writers"] == judged.attrs["writers"] == "column"


def test_hhd_names_mean_the_same_everywhere(tmp_path):
    path = write(tmp_path, "File,Age,Prediction\nw007_F_2_form1.tif,20,21\ntrain/w11_NA_1_form2.tif,9,12\n")
    for table in (gather(tmp_path).table, read_labels(path), read_predictions(path)):
        assert list(table.Writer) == ["7", "11"]
    assert hhd_names(pd.Series(["a\\w3_m_4_form2.tif"])) == [HHDName("3", "M", "4")]
    assert hhd_names(pd.Series(["w3_M_4_form2.tif", "w3.png"])) is None


def test_ids_are_text_and_whole_numbers_of_spreadsheets_lose_their_point(tmp_path):
    frame = pd.DataFrame({"page": ["001", "1"], "age": [9, 30], "writer": [11.0, None], "prediction": [9.5, 30.25]})
    frame.to_excel(tmp_path / "p.xlsx", index=False)
    frame.to_csv(tmp_path / "p.csv", index=False)
    for kind in ("xlsx", "csv"):
        read = read_predictions(tmp_path / f"p.{kind}")
        assert list(read.ImageID) == ["001", "1"]
        assert list(read.Writer) == ["11", "1"]  # A page whose writer is not known is its own writer.


def test_an_index_that_pandas_saved_is_no_column(tmp_path):
    frame = pd.DataFrame({"page": ["a", "b"], "age": [9, 30], "one": [9.5, 30.25]})
    frame.to_csv(tmp_path / "p.csv")
    assert set(read_predictions(tmp_path / "p.csv").Model) == {"one"}


def test_a_row_that_is_longer_than_the_header_is_refused_and_a_decimal_comma_is_read(tmp_path):
    path = write(tmp_path, "page,age,prediction\na,9,9,5\n")
    for read in (read_predictions, read_labels):
        with pytest.raises(InputError, match="line 2 has 4 cells, the header 3"):
            read(path)
    path = write(tmp_path, "page;age;prediction\na;9,5;10,25\n")
    assert read_predictions(path).Prediction.tolist() == [10.25]
    assert read_labels(path).TrueAge.tolist() == gather(tmp_path).table.Age.tolist() == [9.5]
    quoted = write(tmp_path, 'page,age,prediction\na,"9,5",10.25\nb,9,10,\n')  # An empty cell at the end is no cell.
    assert read_predictions(quoted).TrueAge.tolist() == [9.5, 9]


def test_an_unknown_split_is_named(tmp_path):
    path = write(tmp_path, "page,age,prediction,split\na,9,9,train\nb,9,9,holdout\n")
    with pytest.raises(InputError, match="Split must be train, val, test or oof; data row 2 has 'holdout'"):
        read_predictions(path)


def test_a_file_column_that_is_left_out_on_purpose_is_asked_for(tmp_path):
    write(tmp_path, "File,Age\na,9\n")
    with pytest.raises(InputError, match=r"no column ImageID .* Choose one by --columns.file"):
        gather(tmp_path, columns=ColumnNames(file=""))


def test_a_column_of_lists_passes_through(tmp_path):
    path = tmp_path / "p.parquet"
    pd.DataFrame({"page": ["a", "b"], "age": [9, 10], "features": [[1.0, 2.0], [3.0, 4.0]]}).to_parquet(path)
    assert read_labels(path).TrueAge.tolist() == [9, 10]


def test_what_spreadsheets_write_for_an_absent_cell_is_absent(tmp_path):
    path = write(tmp_path, "page,age,one,two\na,9,#N/A,9\nb,10,9,9\n")
    assert read_predictions(path).Model.tolist() == ["one", "two", "two"]


def test_negative_whole_numbers_lose_their_point_too(tmp_path):
    pd.DataFrame({"page": ["a", "b"], "age": [9, 10], "writer": [-1.0, 7.0]}).to_parquet(tmp_path / "labels.parquet")
    assert read_labels(tmp_path / "labels.parquet").Writer.tolist() == ["-1", "7"]


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, kind):
    frame = pd.DataFrame([["a", 9, 1, 2]], columns=["page", "age", "net", "net"])
    frame.to_csv(tmp_path / "p.csv", index=False)
    frame.to_excel(tmp_path / "p.xlsx", index=False)
    with pytest.raises(InputError, match="more than one column 'net'"):
        read_predictions(tmp_path / f"p.{kind}")


def test_an_age_beside_the_true_age_is_no_model(tmp_path):
    path = write(tmp_path, "ImageID,page,TrueAge,Age,net\na,1,9,9,10\nb,2,10,10,9\n")
    assert set(read_predictions(path).Model) == {"net"}


def test_which_of_two_ages_is_trained_on_is_asked(tmp_path):
    path = write(tmp_path, "ImageID,TrueAge,Age,prediction\na,9,10,9\n")
    with pytest.raises(InputError, match=r"'TrueAge' and 'Age' both mean TrueAge; .* choose by --columns\.age"):
        gather(tmp_path)
    assert gather(tmp_path, columns=ColumnNames(age="Age")).table.Age.tolist() == [10]
    assert read_predictions(path).TrueAge.tolist() == [9]
