"""`POST /v1/jobs` refuses what it cannot accept, in time and without a trace.

Which files are refused, and why, is tested with `metseg.formats`; here two stand for all.
"""

import resource
import socket
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.gateways import Gateway, png, problem, promote_tiny, running, zipped
from tests.servers import wait_until

from metseg.settings import Limits, Settings
from metseg_api import multipart

MIB = 2**20
BOUNDARY = "a-boundary"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, redis) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("store")
    limits = Limits(upload_bytes=300 * MIB, files=150)
    with running(Settings(store_directory=folder, **redis.settings(), limits=limits)) as gateway:
        promote_tiny(gateway.store)
        yield gateway


@pytest.fixture(autouse=True)
def _nothing_is_left(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A refused upload leaves store and spool unchanged."""
    before = gateway.job_keys()
    (tmp_path / "spool").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    yield
    assert list((tmp_path / "spool").iterdir()) == []
    wait_until(lambda: gateway.job_keys() == before and open_spools() == 0, 5)


def open_spools() -> int:
    """The number of upload files that this process holds open."""
    return sum(target.startswith(tempfile.gettempdir()) for target in map(_target, Path("/proc/self/fd").iterdir()))


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # the descriptor of this listing
        return ""


def resident_bytes() -> int:
    """This process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def header(columns: int, rows: int) -> bytes:
    """The start of a PNG of that size, up to its pixels."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def test_an_upload_without_files_is_empty(gateway):
    problem(gateway.http.post("/v1/jobs", files={"threshold": (None, "0.5")}), 422, "empty-upload")


def test_text_named_png_is_refused_by_its_content(gateway):
    problem(gateway.submit(b"this is no picture, whatever it is called"), 415, "unsupported-format")


def test_a_zip_bomb_is_refused(gateway):
    problem(gateway.submit(zipped({"1.png": header(64, 64) + b"\0" * (257 * MIB)})), 413, "archive-bomb")


def test_more_files_than_allowed_are_refused(gateway):
    problem(gateway.submit(*[png()] * 200), 413, "too-many-files")


@pytest.mark.parametrize("threshold", ["2", "-0.1", "abc", "nan", "inf", "0,5"])
def test_a_wrong_threshold_is_refused(gateway, threshold):
    assert "0 to 1" in problem(gateway.submit(png(), threshold=threshold), 422, "invalid-parameter")


PICTURE = ("files", ("1.png", png()))


@pytest.mark.parametrize(
    "parts",
    [
        [PICTURE, ("treshold", (None, "0.5"))],
        [PICTURE, ("threshold", (None, "0.4")), ("threshold", (None, "0.5"))],
        [PICTURE, ("model", (None, "a" * 2000))],
        [PICTURE, *((f"field{index}", (None, "1")) for index in range(9))],
        [PICTURE, ("flair", ("2.png", png()))],
        [("scan", ("1.png", png()))],
    ],
    ids=["unknown", "twice", "too long", "too many", "files with and without a role", "files of an unknown role"],
)
def test_a_form_with_a_wrong_field_is_refused(gateway, parts):
    problem(gateway.http.post("/v1/jobs", files=parts), 422, "invalid-parameter")


@pytest.mark.parametrize("model", ["20990101-000000-none", "../../jobs", "UPPER", "-"])
def test_an_unknown_model_is_refused(gateway, model):
    problem(gateway.submit(png(), model=model), 422, "invalid-parameter")


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "ümlaut".encode("latin-1")])
def test_a_wrong_idempotency_key_is_refused(gateway, key):
    problem(gateway.submit(png(), headers={"Idempotency-Key": key}), 422, "invalid-parameter")


def test_another_media_type_is_refused(gateway):
    problem(gateway.http.post("/v1/jobs", json={"files": []}), 415, "unsupported-format")


@pytest.mark.parametrize("media_type", ["multipart/form-data", f"multipart/form-data; boundary={'x' * 300}"])
def test_multipart_without_a_usable_boundary_is_refused(gateway, media_type):
    problem(
        gateway.http.post("/v1/jobs", content=b"x", headers={"Content-Type": media_type}), 400, "upload-interrupted"
    )


def test_a_body_that_is_not_multipart_is_refused(gateway):
    problem(post(gateway, b"not a boundary in sight"), 400, "upload-interrupted")


def test_a_chunked_body_without_its_last_boundary_is_refused(gateway):
    whole = form(png())
    problem(post(gateway, iter([whole[: len(whole) // 2]])), 400, "upload-interrupted")


def test_a_part_with_unbounded_headers_is_refused(gateway):
    body = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=files; filename={'x' * 10_000}".encode()
    problem(post(gateway, body), 400, "upload-interrupted")


def test_unbounded_request_headers_are_refused(gateway):
    try:
        status = gateway.http.get("/healthz", headers={"X-Long": "x" * 4 * MIB}).status_code
    except httpx.TransportError:  # refused before all of it was read
        status = 400
    assert status == 400


def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(gateway):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(request_head(content_length=300 * MIB + 1))
        with connection.makefile("rb") as answer_file:
            answer = answer_file.read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"/problems/upload-too-large" in answer


def test_a_chunked_body_is_refused_once_it_exceeds_the_limit(tmp_path, redis):
    limits = Limits(upload_bytes=MIB)
    sent = []

    def endless() -> Iterator[bytes]:
        yield form(b"|").split(b"|")[0]
        for _ in range(64):
            sent.append(MIB)
            yield b"x" * MIB

    with running(Settings(store_directory=tmp_path / "store", **redis.settings(), limits=limits)) as small:
        problem(post(small, endless()), 413, "upload-too-large")
    assert len(sent) < 64


def test_a_client_that_sends_on_regardless_still_reads_the_refusal(gateway):
    for _ in range(5):
        length = {"Content-Length": str(301 * MIB)}
        response = gateway.http.post("/v1/jobs", content=(b"x" * MIB for _ in range(301)), headers=length)
        problem(response, 413, "upload-too-large")


def test_a_large_json_body_is_refused(gateway):
    response = gateway.http.put("/v1/models/champion", content=b'{"version": "' + b"a" * 100_000 + b'"}')
    problem(response, 413, "upload-too-large")


def test_a_truncated_upload_leaves_nothing(gateway):
    whole = form(png(rows=512, columns=512))
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(request_head(len(whole)) + whole[: len(whole) // 2])
        wait_until(lambda: open_spools() == 1, 5)
    wait_until(lambda: open_spools() == 0, 5)
    assert gateway.http.get("/healthz").status_code == 200


def test_a_stalled_upload_times_out(gateway, monkeypatch):
    monkeypatch.setattr(multipart, "MAX_IDLE_S", 0.2)
    whole = form(png())
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        connection.sendall(request_head(len(whole)) + whole[:100])
        with connection.makefile("rb") as answer:  # until the connection is closed
            assert b"/problems/upload-interrupted" in answer.read()


def test_a_large_upload_is_never_whole_in_memory(gateway):
    before = resident_bytes()
    head, tail = form(b"|").split(b"|")
    seen = []

    def body() -> Iterator[bytes]:
        yield head
        for _ in range(256):
            yield b"x" * MIB
            seen.append(resident_bytes())
        yield tail

    problem(post(gateway, body()), 415, "unsupported-format")
    assert max(seen) - before < 48 * MIB


def test_other_calls_are_answered_while_uploads_are_slow(gateway):
    whole = form(png())
    sockets = [socket.create_connection(("127.0.0.1", gateway.port), timeout=10) for _ in range(60)]
    try:
        for connection in sockets:
            connection.sendall(request_head(len(whole)) + whole[:-10])
        wait_until(lambda: open_spools() == 60, 10)
        assert gateway.http.get("/v1/jobs", timeout=2).status_code == 200
    finally:
        for connection in sockets:
            connection.close()


def form(*files: bytes) -> bytes:
    """The multipart body of these files."""
    disposition = b'Content-Disposition: form-data; name="files"; filename="%d.png"'
    parts = [
        b"--%s\r\n%s\r\n\r\n%s\r\n" % (BOUNDARY.encode(), disposition % index, data) for index, data in enumerate(files)
    ]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def post(gateway: Gateway, body: bytes | Iterator[bytes]):
    """Send a body unchanged; an iterator is sent in chunks, without a Content-Length."""
    media_type = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    return gateway.http.post("/v1/jobs", content=body, headers=media_type)


def request_head(content_length: int) -> bytes:
    """The head of a submission, for a raw socket."""
    return (
        f"POST /v1/jobs HTTP/1.1\r\nHost: gateway\r\nContent-Length: {content_length}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    ).encode()
