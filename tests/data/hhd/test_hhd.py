"""HHD-Age from a server that behaves as badly as servers do."""

import dataclasses
import hashlib
import io
import json
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from age_keras import cli
from age_keras.data.hhd.dataset import ARCHIVE, RECORD, download_hhd
from age_keras.data.hhd.download import fetch, unpack
from age_keras.data.table.samples import read_samples
from age_keras.errors import InputError

PAGES = [
    ("w1_M_4_form1.tif", 4, "TRAIN", 56),
    ("w2_F_1_form1.tif", 1, "Train", 12),
    ("w3_F_2_form1.tif", 2, "VAL", 20),
    ("w4_M_3_form1.tif", 3, "test", 33),
]


def tif(seed: int) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 255, (60, 40), np.uint8)
    Image.fromarray(noise).save(file, "TIFF")
    return file.getvalue()


def archive(top: str = "AgeSplit/", extra: dict[str, bytes] | None = None) -> bytes:
    """A small archive of HHD-Age's layout: a top folder, stray files, `Set` in any case."""
    file = io.BytesIO()
    rows = "".join(f"{name},{group},{split},{age}\n" for name, group, split, age in PAGES)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr(f"{top}AgeAnnotations_and_Split.csv", "File,AgeGroup,Set,Age\n" + rows)
        pack.writestr(f"{top}desktop.ini", "[.ShellClassInfo]")
        pack.writestr(f"{top}train/desktop.ini", "x")
        pack.writestr("__MACOSX/._AgeSplit", "x")
        for seed, (name, _, split, _) in enumerate(PAGES):
            pack.writestr(f"{top}{split.lower()}/{name}", tif(seed))
        for name, content in (extra or {}).items():
            pack.writestr(name, content)
    return file.getvalue()


@dataclasses.dataclass
class Behaviour:
    content: bytes
    breaks_off: int = 0  # so many answers end after `piece` bytes, though more was announced
    piece: int = 1000
    ranges: bool = True
    truncated_to: int | None = None  # the file on the server is shorter than its record says
    md5: str | None = None
    requests: list = dataclasses.field(default_factory=list)
    url: str = ""


@pytest.fixture
def server():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            b, content = behaviour, behaviour.content
            if self.path == f"/api/records/{RECORD}":
                md5 = b.md5 or hashlib.md5(content).hexdigest()
                link = f"{b.url}/api/records/{RECORD}/files/{ARCHIVE}/content"
                entry = {"key": ARCHIVE, "size": len(content), "checksum": f"md5:{md5}", "links": {"self": link}}
                self._send(200, json.dumps({"files": [entry]}).encode())
                return
            if not self.path.startswith(f"/api/records/{RECORD}/files/{ARCHIVE}"):
                self._send(404, b"")
                return
            wanted = self.headers.get("Range")
            b.requests.append(wanted)
            content = content[: b.truncated_to]
            start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and b.ranges else 0
            if start and start >= len(content):
                self._send(416, b"")
                return
            range_header = f"bytes {start}-{len(content) - 1}/{len(content)}" if wanted and b.ranges else None
            whole = content[start:]
            piece = whole
            if b.breaks_off:
                b.breaks_off -= 1
                piece = whole[: b.piece]
            self._send(206 if range_header else 200, piece, len(whole), range_header)

        def _send(self, status, body, length=None, range_header=None):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            if range_header:
                self.send_header("Content-Range", range_header)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    behaviour = Behaviour(archive())
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    behaviour.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield behaviour
    http.shutdown()
    http.server_close()


def download(folder, server):
    return download_hhd(folder, server.url, pause=0.0, progress=False)


def left_over(parent):
    return sorted(path.name for path in parent.iterdir() if not path.name.endswith(".lock"))


def test_lays_out_the_set_and_reads_it(server, tmp_path):
    assert download(tmp_path / "hhd", server)
    samples = read_samples(tmp_path / "hhd")
    assert list(samples.table["Writer"]) == ["1", "2", "3", "4"]
    assert list(samples.table["Split"]) == ["train", "train", "val", "test"]
    assert samples.table["ImageID"][0] == "train/w1_M_4_form1.tif"
    assert not list((tmp_path / "hhd").rglob("desktop.ini"))
    assert left_over(tmp_path) == ["hhd"]


def test_the_command_says_so_when_there_is_nothing_to_do(server, tmp_path, capsys):
    arguments = ["data", "download", "hhd", str(tmp_path / "hhd"), "--base-url", server.url]
    assert cli.main(arguments) == 0
    assert "4 pages of 4 writers, 2 train / 1 val / 1 test" in capsys.readouterr().out
    fetched = len(server.requests)
    assert cli.main(arguments) == 0
    assert "complete already, nothing to do" in capsys.readouterr().out
    assert len(server.requests) == fetched


def test_goes_on_when_the_connection_breaks_off(server, tmp_path):
    server.breaks_off = 3
    assert download(tmp_path / "hhd", server)
    assert server.requests == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]


def test_a_later_call_goes_on_from_what_was_kept(server, tmp_path):
    server.breaks_off, server.piece = 100, 0
    (tmp_path / f".{ARCHIVE}.part").write_bytes(server.content[:1500])
    with pytest.raises(InputError, match=r"cannot be fetched .* 1500 of \d+ bytes are kept: re-run the command"):
        download(tmp_path / "hhd", server)
    assert not (tmp_path / "hhd").exists()
    server.breaks_off = 0
    assert download(tmp_path / "hhd", server)
    assert server.requests[-1] == "bytes=1500-"


def test_starts_anew_where_the_server_ignores_ranges(server, tmp_path):
    server.ranges, server.breaks_off, server.piece = False, 2, 1200
    assert download(tmp_path / "hhd", server)
    assert server.requests == [None, "bytes=1200-", "bytes=1200-"]
    assert len(read_samples(tmp_path / "hhd")) == 4


def test_a_kept_piece_of_another_file_is_fetched_anew(server, tmp_path):
    (tmp_path / f".{ARCHIVE}.part").write_bytes(b"another version" * 20)
    assert download(tmp_path / "hhd", server)
    assert server.requests == ["bytes=300-", None]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_truncated_file_is_refused(server, tmp_path, ranges):
    server.truncated_to, server.ranges = len(server.content) - 500, ranges
    expected = "is shorter than" if ranges else "it sent less than it should"
    with pytest.raises(InputError, match=expected):
        download(tmp_path / "hhd", server)
    assert not (tmp_path / "hhd").exists()


def test_a_wrong_checksum_is_refused_and_nothing_kept(server, tmp_path):
    server.md5 = "0" * 32
    with pytest.raises(InputError, match=r"the checksum is md5 [0-9a-f]{32}, not 0{32}"):
        download(tmp_path / "hhd", server)
    assert left_over(tmp_path) == []


def test_more_bytes_than_announced_are_refused(server, tmp_path):
    url = f"{server.url}/api/records/{RECORD}/files/{ARCHIVE}"
    with pytest.raises(InputError, match="sends more than the expected 100 bytes"):
        fetch(url, tmp_path / "file", 100, "0" * 32, pause=0.0, progress=False)


def test_a_server_that_refuses_is_named(server, tmp_path):
    with pytest.raises(InputError, match=r"/nothing: the server refuses \(HTTP 404\)"):
        fetch(f"{server.url}/nothing", tmp_path / "file", 100, "0" * 32, pause=0.0, progress=False)


def test_no_connection_is_exit_code_2(tmp_path, capsys):
    assert cli.main(["data", "download", "hhd", str(tmp_path / "hhd"), "--base-url", "http://127.0.0.1:9"]) == 2
    assert "check the connection and re-run the command" in capsys.readouterr().err


def test_a_folder_that_holds_something_else_is_left_alone(server, tmp_path):
    (tmp_path / "hhd").mkdir()
    (tmp_path / "hhd" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a complete HHD-Age folder: move it away or give another folder"):
        download(tmp_path / "hhd", server)
    assert (tmp_path / "hhd" / "thesis.txt").read_text() == "mine"
    assert server.requests == []


def test_an_archive_of_something_else_is_refused(server, tmp_path):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as pack:
        pack.writestr("readme.txt", "nothing here")
    server.content = file.getvalue()
    with pytest.raises(InputError, match="does not hold the HHD-Age folder"):
        download(tmp_path / "hhd", server)
    assert not (tmp_path / "hhd").exists()


def test_an_archive_without_a_top_folder_is_laid_out_alike(server, tmp_path):
    server.content = archive(top="")
    assert download(tmp_path / "hhd", server)
    assert (tmp_path / "hhd" / "AgeAnnotations_and_Split.csv").is_file()


@pytest.mark.parametrize(
    "name", ["../evil.txt", "AgeSplit/../../evil.txt", "/tmp/evil.txt", "..\\evil.txt", "C:\\evil"]
)
def test_a_name_that_leads_outside_is_refused(server, tmp_path, name):
    server.content = archive(extra={name: b"evil"})
    with pytest.raises(InputError, match="leads outside the folder; nothing was unpacked"):
        download(tmp_path / "below" / "hhd", server)
    assert not list(tmp_path.rglob("evil*"))
    assert left_over(tmp_path / "below") == [f".{ARCHIVE}"]


def test_a_link_in_an_archive_becomes_a_plain_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as pack:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        pack.writestr(entry, "/etc/passwd")
    unpack(tmp_path / "a.zip", tmp_path / "out", progress=False)
    assert not (tmp_path / "out" / "link").is_symlink()
    assert (tmp_path / "out" / "link").read_text() == "/etc/passwd"


def test_an_archive_that_would_burst_the_disk_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("zeros", bytes(1 << 25))
    with pytest.raises(InputError, match=r"would grow from .* to 33554432 bytes"):
        unpack(tmp_path / "a.zip", tmp_path / "out", progress=False)


def test_a_damaged_archive_is_refused(tmp_path):
    content = bytearray(archive())
    content[2000:2030] = bytes(30)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match="is damaged or encrypted"):
        unpack(tmp_path / "a.zip", tmp_path / "out", progress=False)
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match="is damaged or encrypted"):
        unpack(tmp_path / "b.zip", tmp_path / "out", progress=False)
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("page", bytes(1000))
    content = bytearray((tmp_path / "c.zip").read_bytes())
    content[30 + len("page")] = 0xFF  # Begins the compressed data, with a kind of block that there is not.
    (tmp_path / "c.zip").write_bytes(content)
    with pytest.raises(InputError, match="is damaged or encrypted"):
        unpack(tmp_path / "c.zip", tmp_path / "out", progress=False)
    assert left_over(tmp_path) == ["a.zip", "b.zip", "c.zip"]
