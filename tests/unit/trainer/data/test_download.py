"""Downloading the data set over a network that fails, sends wrong data or is closed."""

import hashlib
import io
import os
import shutil
import socket
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from metseg.errors import DatasetError
from metseg_trainer.data import download as downloading
from metseg_trainer.data.download import ATTEMPTS, download_dataset, extract, fetch


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


NOISE = os.urandom(3 * 2**20)
ARCHIVE = packed({"kaggle_3m/a/1.tif": NOISE, "kaggle_3m/README.md": b"hello"})


class Server:
    """A file server that can drop connections, ignore ranges, change its file or fail; it records requests."""

    def __init__(self) -> None:
        self.content = ARCHIVE
        self.etag: str | None = '"v1"'
        self.modified: str | None = None
        self.ranges = True
        self.break_after: int | None = None
        self.shift = 0
        self.statuses: list[int] = []
        self.asked: list[str | None] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.asked.append(wanted)
        if self.statuses:
            handler.send_error(self.statuses.pop(0))
            return
        first = 0
        version = self.etag or self.modified
        if wanted and self.ranges and handler.headers.get("If-Range") == version:
            first = int(wanted.removeprefix("bytes=").removesuffix("-")) + self.shift
        if first >= len(self.content):
            handler.send_error(416)
            return
        body = self.content[first:]
        handler.send_response(206 if first else 200)
        handler.send_header("Content-Length", str(len(body)))
        if first:
            handler.send_header("Content-Range", f"bytes {first}-{len(self.content) - 1}/{len(self.content)}")
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.modified:
            handler.send_header("Last-Modified", self.modified)
        handler.end_headers()
        if self.break_after is not None:
            body, self.break_after = body[: self.break_after], None
            handler.close_connection = True
        handler.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            state.answer(self)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}/public/Data.zip"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def test_the_archive_is_fetched_unpacked_and_removed(server, tmp_path):
    folder = download_dataset(tmp_path / "new", server.url, pause_s=0)
    assert folder == tmp_path / "new" / "Data"
    assert (folder / "kaggle_3m/a/1.tif").read_bytes() == NOISE
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"Data", "Data.zip.sha256"}


def test_a_second_download_must_equal_the_recorded_first(server, tmp_path):
    shutil.rmtree(download_dataset(tmp_path, server.url, pause_s=0))
    recorded = (tmp_path / "Data.zip.sha256").read_text()
    assert recorded == f"{hashlib.sha256(ARCHIVE).hexdigest()}  Data.zip\n"
    shutil.rmtree(download_dataset(tmp_path, server.url, pause_s=0))
    server.content = packed({"kaggle_3m/a/1.tif": b"poisoned"})
    with pytest.raises(DatasetError, match=r"not the one in Data\.zip\.sha256"):
        download_dataset(tmp_path, server.url, pause_s=0)
    assert [path.name for path in tmp_path.iterdir()] == ["Data.zip.sha256"]
    assert (tmp_path / "Data.zip.sha256").read_text() == recorded


@pytest.mark.parametrize("record", ["", "0" * 64 + "  Data.zip\n"])
def test_a_first_download_must_equal_a_record_that_is_there(server, tmp_path, record):
    (tmp_path / "Data.zip.sha256").write_text(record)
    with pytest.raises(DatasetError, match="publisher"):
        download_dataset(tmp_path, server.url, pause_s=0)
    assert [path.name for path in tmp_path.iterdir()] == ["Data.zip.sha256"]


def test_a_cut_connection_is_resumed_where_it_broke(server, tmp_path):
    server.break_after = 2**20
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0).read_bytes() == ARCHIVE
    assert server.asked == [None, f"bytes={2**20}-"]
    assert [path.name for path in tmp_path.iterdir()] == ["Data.zip"]


def test_a_later_run_resumes_what_an_earlier_one_left(server, tmp_path):
    (tmp_path / "Data.zip.part").write_bytes(ARCHIVE[:1000])
    (tmp_path / "Data.zip.etag").write_text('"v1"')
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0).read_bytes() == ARCHIVE
    assert server.asked == ["bytes=1000-"]


def test_a_server_without_ranges_is_read_from_the_start(server, tmp_path):
    server.break_after, server.ranges = 2**20, False
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0).read_bytes() == ARCHIVE


def test_a_changed_file_on_the_server_is_read_from_the_start(server, tmp_path):
    (tmp_path / "Data.zip.part").write_bytes(b"x" * 1000)
    (tmp_path / "Data.zip.etag").write_text('"v0"')
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0).read_bytes() == ARCHIVE


@pytest.mark.parametrize("etag", [None, 'W/"v1"'])
def test_a_partial_file_of_unknown_version_is_not_resumed(server, tmp_path, etag):
    server.etag, server.break_after = etag, 2**20
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0).read_bytes() == ARCHIVE
    assert server.asked == [None, None]


def test_last_modified_is_used_without_an_etag(server, tmp_path):
    server.etag, server.modified, server.break_after = None, "Mon, 23 Nov 2026 20:00:00 GMT", 2**20
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0).read_bytes() == ARCHIVE
    assert server.asked == [None, f"bytes={2**20}-"]


def test_a_wrong_range_from_the_server_is_rejected(server, tmp_path):
    (tmp_path / "Data.zip.part").write_bytes(ARCHIVE[:1000])
    (tmp_path / "Data.zip.etag").write_text('"v1"')
    server.shift = 10
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0).read_bytes() == ARCHIVE
    assert server.asked == ["bytes=1000-", None]


def test_a_partial_file_of_full_length_is_fetched_again(server, tmp_path):
    (tmp_path / "Data.zip.part").write_bytes(b"x" * len(ARCHIVE))
    (tmp_path / "Data.zip.etag").write_text('"v1"')
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0).read_bytes() == ARCHIVE


def test_pauses_grow_until_the_server_recovers(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(downloading.time, "sleep", pauses.append)
    server.statuses = [503, 500, 502]
    assert fetch(server.url, tmp_path / "Data.zip", pause_s=0.5).read_bytes() == ARCHIVE
    assert pauses == [0.5, 1.0, 2.0]


def test_a_broken_server_is_given_up_after_some_attempts(server, tmp_path):
    server.statuses = [503] * 99
    with pytest.raises(DatasetError, match="answered 503"):
        fetch(server.url, tmp_path / "Data.zip", pause_s=0)
    assert len(server.asked) == ATTEMPTS


def test_a_partial_download_is_kept_for_the_next_run(server, tmp_path):
    server.break_after = 2**20
    answer = server.answer

    def once(handler: BaseHTTPRequestHandler) -> None:
        server.answer = lambda later: later.send_error(503)  # before the client can retry
        answer(handler)

    server.answer = once
    with pytest.raises(DatasetError, match="kept: run this again"):
        fetch(server.url, tmp_path / "Data.zip", pause_s=0)
    assert (tmp_path / "Data.zip.part").stat().st_size == 2**20


def test_a_refusal_is_not_retried_and_says_how_to_mount_a_folder(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(DatasetError, match=r"answered 404.*DATA_DIR=/path/to/folder docker compose run trainer"):
        download_dataset(tmp_path, server.url, pause_s=0)
    assert len(server.asked) == 1


def test_without_a_network_the_error_says_how_to_mount_a_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as blocker:
        blocker.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{blocker.getsockname()[1]}/Data.zip"
    with pytest.raises(DatasetError, match=r"ConnectError.*DATA_DIR=/path/to/folder docker compose run trainer"):
        download_dataset(tmp_path, url, pause_s=0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_says_so(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DatasetError, match="cannot be written"):
        download_dataset(tmp_path / "file", server.url, pause_s=0)


def test_a_damaged_archive_is_removed_and_nothing_is_unpacked(server, tmp_path):
    at = ARCHIVE.index(NOISE[:64]) + 1000
    server.content = ARCHIVE[:at] + bytes([ARCHIVE[at] ^ 255]) + ARCHIVE[at + 1 :]
    with pytest.raises(DatasetError, match="damaged"):
        download_dataset(tmp_path, server.url, pause_s=0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_an_archive_is_removed(server, tmp_path):
    server.content = b"<html>please log in</html>"
    with pytest.raises(DatasetError, match="damaged"):
        download_dataset(tmp_path, server.url, pause_s=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "..\\out.txt", "C:\\out.txt"])
def test_an_archive_with_paths_outside_itself_is_refused(tmp_path, name):
    (tmp_path / "Data.zip").write_bytes(packed({"fine.txt": b"1", name: b"2"}))
    with pytest.raises(DatasetError, match="outside itself"):
        extract(tmp_path / "Data.zip", tmp_path / "Data")
    assert [path.name for path in tmp_path.iterdir()] == ["Data.zip"]


def test_a_link_in_an_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "Data.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DatasetError, match="links"):
        extract(tmp_path / "Data.zip", tmp_path / "Data")


@pytest.mark.parametrize(("limit", "most"), [("MAX_MEMBERS", 1), ("MAX_BYTES", 2**20)])
def test_an_archive_over_the_limits_is_refused_before_unpacking(tmp_path, monkeypatch, limit, most):
    monkeypatch.setattr(downloading, limit, most)
    (tmp_path / "Data.zip").write_bytes(ARCHIVE)
    with pytest.raises(DatasetError, match="expand beyond"):
        extract(tmp_path / "Data.zip", tmp_path / "Data")
    assert [path.name for path in tmp_path.iterdir()] == ["Data.zip"]


def test_existing_data_are_not_overwritten(tmp_path):
    (tmp_path / "Data.zip").write_bytes(ARCHIVE)
    (tmp_path / "Data").mkdir()
    with pytest.raises(DatasetError, match="exists already"):
        extract(tmp_path / "Data.zip", tmp_path / "Data")


def test_leftovers_of_an_interrupted_unpacking_are_harmless(tmp_path):
    (tmp_path / "Data.zip").write_bytes(ARCHIVE)
    (tmp_path / ".Data.unpacking").mkdir()
    (tmp_path / ".Data.unpacking" / "stale.txt").write_text("old")
    extract(tmp_path / "Data.zip", tmp_path / "Data")
    assert sorted(path.name for path in (tmp_path / "Data" / "kaggle_3m").iterdir()) == ["README.md", "a"]
    assert not (tmp_path / "Data" / "stale.txt").exists()
