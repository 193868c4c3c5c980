"""The patch store: each page once, for all runs, whatever happens meanwhile."""

import errno
import hashlib
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from age_keras.config.pages import PageSettings
from age_keras.data.patches import builder as store_builder
from age_keras.data.patches.pages import cut_page
from age_keras.data.patches.store import PatchStore
from age_keras.data.table import content
from age_keras.data.table.content import content_hashes
from age_keras.data.table.samples import Samples
from age_keras.errors import InputError
from age_keras.files import cache_dir

SETTINGS = PageSettings(image_size=None, shorter_side=60, patch_size=40, stride=20, blank="none")


def write_page(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = np.full((90 + 20 * (seed % 3), 70), 240, np.uint8)
    pixels[20:60, 10:60] = rng.integers(0, 255, (40, 50))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def samples_in(folder: Path, count: int) -> Samples:
    names = [f"p{number:03}.png" for number in range(count)]
    return Samples(folder, pd.DataFrame({"ImageID": names, "Age": 10.0, "Writer": names}))


@pytest.fixture
def samples(tmp_path, monkeypatch):
    monkeypatch.setenv("AGE_KERAS_CACHE", str(tmp_path / "cache"))
    for number in range(8):
        write_page(tmp_path / "pages" / f"p{number:03}.png", number)
    return samples_in(tmp_path / "pages", 8)


def cut(samples, settings=SETTINGS, **options):
    return PatchStore.open(samples, settings, progress=False, **options)


@pytest.fixture
def decoded(monkeypatch):
    """The pages that are decoded from here on."""
    pages = []

    def spy(path, settings):
        pages.append(Path(path).name)
        return cut_page(path, settings)

    monkeypatch.setattr(store_builder, "cut_page", spy)
    return pages


def test_holds_the_patches_of_every_page_in_order(samples):
    store = cut(samples, workers=3)
    expected = [cut_page(path, SETTINGS) for path in samples.paths]
    np.testing.assert_array_equal(store.patches, np.concatenate([page.patches for page in expected]))
    np.testing.assert_array_equal(store.box, np.concatenate([page.boxes for page in expected]))
    np.testing.assert_array_equal(store.page, np.repeat(np.arange(8), [len(page.patches) for page in expected]))
    np.testing.assert_array_equal(store.page_sizes, [page.size for page in expected])
    assert isinstance(store.patches, np.memmap)
    assert store.patches.dtype == np.uint8
    assert (store.page.dtype, store.box.dtype, store.keys.dtype) == (np.int32, np.int32, np.uint64)
    assert store.patches.shape == (len(store), 40, 40, 1)
    assert len(np.unique(store.keys)) == len(store)
    assert store.skipped == []
    np.testing.assert_array_equal(np.load(store.path), store.patches)  # a plain .npy file


def test_a_store_is_read_only(samples):
    with pytest.raises(ValueError, match="read-only"):
        cut(samples).patches[0] = 0


def test_a_second_opening_decodes_and_reads_nothing(samples, decoded, monkeypatch):
    monkeypatch.setattr(content, "_SETTLED", -1e18)  # As if the pages had not been written just now.
    first = cut(samples)
    assert len(decoded) == 8
    monkeypatch.setattr(content, "_sha256", lambda path: pytest.fail("a page was read again"))
    again = cut(samples)
    assert len(decoded) == 8
    np.testing.assert_array_equal(again.patches, first.patches)
    np.testing.assert_array_equal(again.keys, first.keys)


def test_a_changed_page_never_meets_an_old_entry(samples, decoded):
    before = cut(samples)
    write_page(samples.paths[3], 6)  # the same size
    after = cut(samples)
    assert decoded[8:] == []  # page 6 is known by its content
    np.testing.assert_array_equal(after.patches[after.page == 3], before.patches[before.page == 6])
    write_page(samples.paths[3], 33)
    assert cut(samples).patches[after.page == 3].tolist() != after.patches[after.page == 3].tolist()
    assert decoded[8:] == ["p003.png"]


def test_a_changed_page_of_the_same_size_and_time_is_seen_when_it_is_recent(samples, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    stamp = os.stat(path)
    first = content_hashes([path])
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert content_hashes([path]) != first
    assert content_hashes([path, tmp_path / "gone"]) == [hashlib.sha256(b"two").hexdigest(), ""]


def test_a_file_that_a_copy_with_the_same_size_and_time_replaces_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "_SETTLED", -1e18)  # Remembered at once.
    path, other = tmp_path / "x", tmp_path / "y"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    old = 10**18
    for file in (path, other):
        os.utime(file, ns=(old, old))
    (first,) = content_hashes([path])
    time.sleep(0.05)  # Older kernels give two changes within a few milliseconds the same time.
    shutil.copy2(other, path)
    assert (os.stat(path).st_size, os.stat(path).st_mtime_ns) == (3, old)
    assert content_hashes([path]) == [hashlib.sha256(b"two").hexdigest()] != [first]
    monkeypatch.setattr(content, "_sha256", lambda path: pytest.fail("an unchanged file was read again"))
    assert content_hashes([path]) == [hashlib.sha256(b"two").hexdigest()]


@pytest.mark.parametrize("change", [{"stride": 10}, {"shorter_side": 80}, {"channels": 3}, {"image_size": 20}])
def test_another_setting_is_another_store(samples, change):
    first = cut(samples)
    other = cut(
        samples,
        PageSettings(
            **{"image_size": None, "shorter_side": 60, "patch_size": 40, "stride": 20, "blank": "none"} | change
        ),
    )
    assert other.path != first.path
    assert not set(other.keys) & set(first.keys)
    assert other.patches.shape[1:] == (change.get("image_size", 40),) * 2 + (change.get("channels", 1),)


def test_a_further_page_does_not_redo_the_others(samples, decoded):
    few = cut(samples.subset(range(6)))
    assert len(decoded) == 6
    all_pages = cut(samples)
    assert decoded[6:] == ["p006.png", "p007.png"]
    np.testing.assert_array_equal(all_pages.patches[: len(few)], few.patches)
    np.testing.assert_array_equal(all_pages.keys[: len(few)], few.keys)
    reverse = cut(samples.subset(range(7, -1, -1)))
    assert len(decoded) == 8
    np.testing.assert_array_equal(reverse.patches[reverse.page == 7], few.patches[few.page == 0])


def test_the_place_and_name_of_a_page_do_not_matter(samples, decoded, tmp_path):
    first = cut(samples)
    shutil.copytree(samples.root, tmp_path / "elsewhere")
    assert cut(samples_in(tmp_path / "elsewhere", 8)).path == first.path
    assert len(decoded) == 8


def test_bad_pages_stop_or_are_recorded_never_black(samples):
    samples.paths[2].write_bytes(b"no picture")
    samples.paths[5].unlink()
    with pytest.raises(
        InputError, match=r"p002\.png is not a PNG.* `age-keras data check` lists every bad page; --skip"
    ):
        cut(samples)
    store = cut(samples, skip_bad=True)
    assert store.skipped == [
        ("p002.png", "is not a PNG, JPEG, TIFF, BMP or WebP image, or is damaged."),
        ("p005.png", "is missing."),
    ]
    assert set(store.page) == {0, 1, 3, 4, 6, 7}
    np.testing.assert_array_equal(store.page_sizes[[2, 5]], 0)
    with pytest.raises(InputError, match=r"p002\.png is not a PNG"):  # finished with --skip-bad, opened without
        cut(samples)


def test_nothing_but_bad_pages_is_an_error(samples):
    for path in samples.paths:
        path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"None of the 8 pages in .* can be read"):
        cut(samples, skip_bad=True)


def test_blank_pages_are_recorded(samples):
    Image.new("L", (70, 90), 250).save(samples.paths[4])
    store = cut(samples, PageSettings(image_size=None, shorter_side=60, patch_size=40, stride=20))
    assert store.blank == ["p004.png"]
    assert (store.page == 4).sum() == 1


class Killed(Exception):
    pass


def test_an_interrupted_building_goes_on_where_it_stopped(samples, decoded, monkeypatch):
    whole = cut(samples, cache=samples.root / "other").patches
    decoded.clear()
    spy = store_builder.cut_page

    def fails_at_page_5(path, settings):
        if Path(path).name == "p005.png":
            raise KeyboardInterrupt
        return spy(path, settings)

    monkeypatch.setattr(store_builder, "cut_page", fails_at_page_5)
    with pytest.raises(KeyboardInterrupt):
        cut(samples, workers=1)
    monkeypatch.setattr(store_builder, "cut_page", spy)
    decoded.clear()
    np.testing.assert_array_equal(cut(samples).patches, whole)
    assert decoded == ["p005.png", "p006.png", "p007.png"]


@pytest.mark.parametrize("damage", ["short data", "long data", "half a line", "garbage"])
def test_what_a_power_cut_leaves_is_mended(samples, decoded, monkeypatch, damage):
    whole = cut(samples, cache=samples.root / "other").patches
    with monkeypatch.context() as patched:
        patched.setattr(store_builder._Builder, "_finish", lambda self: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            cut(samples)
    (part,) = cache_dir().rglob("*.part")
    data, journal = part / "patches.npy", part / "journal.jsonl"
    if damage == "short data":
        os.truncate(data, data.stat().st_size - 100)
    elif damage == "long data":
        data.write_bytes(data.read_bytes() + b"x" * 5000)
    elif damage == "half a line":
        os.truncate(journal, journal.stat().st_size - 20)
    else:
        journal.write_bytes(journal.read_bytes() + bytes(64))
    decoded.clear()
    np.testing.assert_array_equal(cut(samples).patches, whole)
    assert decoded == ([] if damage in ("long data", "garbage") else ["p007.png"])


def test_a_killed_process_leaves_a_building_that_goes_on(samples, decoded):
    for number in range(8, 200):
        write_page(samples.root / f"p{number:03}.png", number)
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
import test_patch_store as t, time
from age_keras.data.patches import builder as store_builder
store_builder._JOURNAL_SECONDS = 0.0
real = store_builder.cut_page
def slow(*a):
    time.sleep(0.02)
    return real(*a)
store_builder.cut_page = slow
t.cut(t.samples_in(Path({str(samples.root)!r}), 200), workers=1)
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > 500 for file in cache_dir().rglob("journal.jsonl")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    many = samples_in(samples.root, 200)
    store = cut(many)
    assert 0 < len(decoded) < 200
    whole = cut(many, cache=samples.root / "other")
    np.testing.assert_array_equal(store.patches, whole.patches)
    assert not list(cache_dir().rglob("*.part"))


def _open_and_report(root, queue):
    decoded = []
    real = store_builder.cut_page
    store_builder.cut_page = lambda *arguments: (decoded.append(1), time.sleep(0.01), real(*arguments))[-1]
    store = cut(samples_in(root, 8))
    queue.put((len(decoded), hashlib.sha256(store.patches).hexdigest()))


def test_two_processes_at_once_cut_each_page_once(samples):
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    both = [spawn.Process(target=_open_and_report, args=(samples.root, queue)) for _ in range(2)]
    for process in both:
        process.start()
    results = [queue.get(timeout=120) for _ in both]
    for process in both:
        process.join()
    assert sorted(count for count, _ in results) == [0, 8]
    assert len({digest for _, digest in results}) == 1


def test_a_store_that_lost_its_index_is_made_again(samples, decoded):
    first = cut(samples)
    pixels = np.array(first.patches)
    (first.path.parent / "index.json").unlink()
    np.testing.assert_array_equal(cut(samples).patches, pixels)


def test_a_full_disk_is_said(samples, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store_builder.os, "fsync", full)
    with pytest.raises(
        InputError, match=r"Patches cannot be kept in .* \(no space left on device\): set AGE_KERAS_CACHE"
    ):
        cut(samples)


def test_only_a_few_pages_are_ahead_of_the_disk(samples, monkeypatch):
    started, ahead = [], []
    real_page, real_save = store_builder._Builder._page, store_builder._Builder._save

    def save(self, *arguments):
        ahead.append(len(started) - len(self.entries))
        return real_save(self, *arguments)

    monkeypatch.setattr(store_builder._Builder, "_page", lambda self, *a: (started.append(1), real_page(self, *a))[1])
    monkeypatch.setattr(store_builder._Builder, "_save", save)
    monkeypatch.setattr(store_builder, "_JOURNAL_SECONDS", -1.0)
    cut(samples, workers=1)
    assert len(ahead) == 9
    assert max(ahead) <= 3


def test_a_progress_bar_is_on_stderr(samples, capsys):
    PatchStore.open(samples, SETTINGS)
    captured = capsys.readouterr()
    assert "Cutting pages: 100%" in captured.err
    assert captured.out == ""
