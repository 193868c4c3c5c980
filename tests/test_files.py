"""Files are whole or not there."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from age_keras.files import atomic_write, cache_dir, write_json


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines(["half of the new", None])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writes_text_with_unix_line_ends_and_makes_the_folder(tmp_path):
    with atomic_write(tmp_path / "a" / "b.txt") as file:
        file.write("x\ny\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"x\ny\n"


def test_the_cache_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path


def test_json_has_null_where_a_number_is_nan(tmp_path):
    values = {"low": math.nan, 3: [np.float64("nan"), 0.5, (1, math.nan)], "at": Path("a"), "most": math.inf}
    write_json(tmp_path / "a.json", values)
    text = (tmp_path / "a.json").read_text()
    assert "NaN" not in text
    found = {"low": None, "3": [None, 0.5, [1, None]], "at": "a", "most": math.inf}
    assert json.loads(text) == found
    assert math.isnan(values["low"])
