"""The feature cache's room: what goes, what stays, and a disk that cannot be written."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from age_keras.errors import InputError
from age_keras.prefix.cache import room as cache_room
from age_keras.training.distributed.devices import share


@pytest.fixture
def entry(tmp_path):
    folder = tmp_path / "features" / "a"
    folder.mkdir(parents=True)
    (folder / "tensor0.bin").write_bytes(bytes(1000))
    return folder


def test_an_entry_goes_in_one_step(entry, monkeypatch):
    """Nobody finds half of it: when its files are deleted, it has no name any more."""
    deleted = []
    monkeypatch.setattr(cache_room.shutil, "rmtree", lambda path, **_: deleted.append((Path(path), entry.exists())))
    assert cache_room.remove(entry)
    ((trash, there),) = deleted
    assert not there
    assert (trash / "tensor0.bin").exists()
    assert cache_room.held(entry.parent) == []
    monkeypatch.undo()
    assert cache_room.make_room(entry.parent, 10, 100, [])
    assert not trash.exists()  # What a killed process left goes with the next one.


def test_an_entry_that_is_being_written_stays(entry):
    with FileLock(entry / "lock"):
        assert not cache_room.remove(entry)
        assert not cache_room.make_room(entry.parent, 10, 100, [])
    assert (entry / "tensor0.bin").exists()


def test_where_nothing_can_be_written_making_room_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "file", tmp_path / "file" / "features"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            cache_room.make_room(folder, 10, 100, [])
    assert cache_room.held(tmp_path / "file") == []

    def refuse(*_, **__):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(cache_room, "FileLock", refuse)
    with pytest.raises(PermissionError):
        cache_room.make_room(tmp_path / "features", 10, 100, [])
    monkeypatch.setattr(Path, "touch", refuse)
    cache_room.touch(tmp_path)


def test_the_limit_is_the_users(tmp_path, monkeypatch):
    assert 0 < cache_room.default_disk_budget(tmp_path) <= 20 * 10**9
    monkeypatch.setenv("AGE_KERAS_CACHE_GB", "0.5")
    assert cache_room.default_disk_budget(tmp_path) == 5 * 10**8
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv("AGE_KERAS_CACHE_GB", wrong)
        with pytest.raises(InputError, match="AGE_KERAS_CACHE_GB must be a number of GB"):
            cache_room.default_disk_budget(tmp_path)


def test_workers_share_the_memory(monkeypatch):
    monkeypatch.delenv("AGE_KERAS_WORKERS", raising=False)
    alone = cache_room.default_memory_budget()
    for name, value in share(1, 4, []).items():
        monkeypatch.setitem(os.environ, name, value)
    assert cache_room.default_memory_budget() == alone // 4
