"""Features on disk: rows are whole or not there, the limit is kept, and what is in use stays."""

import errno
import os
import sqlite3
import time

import numpy as np
import pytest

from age_keras.errors import InputError
from age_keras.prefix import feature_files
from age_keras.prefix.cache import default_memory_budget
from age_keras.prefix.feature_files import FeatureFiles
from age_keras.training.distributed.devices import allotment

ROW = np.dtype([("0", np.float32, (3, 2)), ("1", np.float32, (4,))])
NO_ERRORS = {"kept": 0.0, "computed": 0.0}


@pytest.fixture
def files(tmp_path):
    return FeatureFiles(tmp_path / "features")


def add(files, name, ids, errors=NO_ERRORS):
    """Rows whose values are their patches'."""
    array = np.zeros(len(ids), ROW)
    array["0"], array["1"] = np.reshape(ids, (-1, 1, 1)), np.reshape(ids, (-1, 1))
    with files.lock(name):
        return files.append(name, {"name": name}, files.rows(name, ROW), np.array(ids, np.uint64), array, errors)


def test_rows_are_found_as_they_were_added(files, tmp_path):
    add(files, "a", [7, 2**64 - 1], {"kept": 0.1, "computed": 0.0})
    add(files, "a", [3], {"kept": 0.0, "computed": 0.2})
    add(files, "b", [7])
    rows = FeatureFiles(tmp_path / "features").rows("a", ROW)
    assert rows.find(np.array([3, 5, 7], np.uint64)).tolist() == [2, -1, 0]
    assert rows.array["1"][:, 0].tolist() == np.array([7, 2**64 - 1, 3], np.float32).tolist()
    assert rows.errors == {"kept": 0.1, "computed": 0.2}
    assert [(entry.name, entry.bytes) for entry in files.entries()] == [("a", 3 * 40), ("b", 40)]


def test_half_precision_takes_half_the_room_and_is_another_entry(files):
    half = np.dtype([("0", np.float16, (3, 2)), ("1", np.float16, (4,))])
    add(files, "a", [1])
    assert len(files.rows("a", half).ids) == 0
    assert half.itemsize == ROW.itemsize // 2


def test_a_disk_that_gets_full_keeps_the_rows_that_are_there(files, monkeypatch):
    add(files, "a", [1, 2])

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(feature_files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        add(files, "a", [3, 4])
    monkeypatch.undo()
    assert (files.folder / "1.bin").stat().st_size == 2 * ROW.itemsize
    assert files.rows("a", ROW).ids.tolist() == [1, 2]
    add(files, "a", [4])
    assert files.rows("a", ROW).array["1"][:, 0].tolist() == [1, 2, 4]


def test_what_is_mapped_stays_readable_and_is_no_other_entrys(files):
    add(files, "a", [1, 2])
    before = files.rows("a", ROW)
    assert files.remove(files.entries()[0])
    add(files, "a", [8, 9])  # By another process, in the same place.
    assert before.array["1"][:, 0].tolist() == [1, 2]
    assert files.rows("a", ROW).array["1"][:, 0].tolist() == [8, 9]


@pytest.mark.parametrize("damage", ["gone", "too short"])
def test_an_entry_whose_file_is_damaged_is_forgotten(files, damage):
    add(files, "a", [1, 2])
    if damage == "gone":
        (files.folder / "1.bin").unlink()
    else:
        os.truncate(files.folder / "1.bin", 50)
    assert len(files.rows("a", ROW).ids) == 0
    assert files.entries() == []


def test_rows_that_vanish_while_others_are_added_do_not_become_zeros(files):
    add(files, "a", [1, 2])
    before = files.rows("a", ROW)
    (files.folder / "1.bin").unlink()
    with pytest.raises(OSError, match="have been deleted"):
        files.append("a", {}, before, np.array([3], np.uint64), np.ones(1, ROW), NO_ERRORS)
    assert len(files.rows("a", ROW).ids) == 0


def test_an_index_that_cannot_be_opened_is_no_traceback(files, monkeypatch):
    """As of another user: SQLite fails when it connects."""
    add(files, "a", [1])

    def refused(*_, **__):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(feature_files.sqlite3, "connect", refused)
    anew = FeatureFiles(files.folder)
    assert not anew.damaged
    assert anew.entries() == []
    monkeypatch.undo()
    assert files.rows("a", ROW).ids.tolist() == [1]


@pytest.mark.parametrize("garbage", [b"", b"no index", bytes(range(256)) * 64], ids=["empty", "short", "long"])
def test_a_damaged_index_is_begun_anew(files, garbage):
    add(files, "a", [1, 2])
    (files.folder / "index.sqlite").write_bytes(garbage)
    anew = FeatureFiles(files.folder)
    assert anew.damaged == bool(garbage)
    assert len(anew.rows("a", ROW).ids) == 0
    add(anew, "b", [5])
    assert anew.rows("b", ROW).array["1"][:, 0].tolist() == [5]


def test_the_least_recently_used_go_first_and_what_is_used_or_written_stays(files):
    for name in "abcd":
        add(files, name, [1])
        time.sleep(0.01)
    files.touch(["a"])
    with files.lock("b"):
        assert not files.make_room(41, 80, ["c"])  # a and d would do, with one byte missing.
        assert len(files.entries()) == 4
        assert files.make_room(40, 160, ["c"])
    assert [entry.name for entry in files.entries()] == ["b", "c", "a"]
    assert files.make_room(40, 80, ["c"])
    assert [entry.name for entry in files.entries()] == ["c"]
    assert sorted(path.name for path in files.folder.glob("*.bin")) == ["3.bin"]


def test_what_a_killed_process_has_left_goes(files):
    add(files, "a", [1])
    (files.folder / "99.bin").write_bytes(bytes(100))
    assert files.make_room(10, 1000, [])
    assert [path.name for path in files.folder.glob("*.bin")] == ["1.bin"]


def test_where_nothing_can_be_written_making_room_says_so(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "features"):
        files = FeatureFiles(folder)
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            files.make_room(10, 100, [])
        assert files.entries() == []
        files.touch(["a"])


def test_the_limit_is_the_users(files, monkeypatch):
    assert 0 < files.default_budget() <= 20 * 10**9
    monkeypatch.setenv("AGE_KERAS_CACHE_GB", "0.5")
    assert files.default_budget() == 5 * 10**8
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("AGE_KERAS_CACHE_GB", wrong)
        with pytest.raises(InputError, match="AGE_KERAS_CACHE_GB must be a number of GB"):
            files.default_budget()


def test_workers_share_the_memory(monkeypatch):
    monkeypatch.delenv("AGE_KERAS_WORKERS", raising=False)
    alone = default_memory_budget()
    for name, value in allotment(1, 4, []).items():
        monkeypatch.setitem(os.environ, name, value)
    assert default_memory_budget() == alone // 4
