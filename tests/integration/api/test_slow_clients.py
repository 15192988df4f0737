"""Clients that send or read slowly lose their connection in time, and keep nobody else waiting."""

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from functools import partial

import httpx
import numpy as np
import pytest
from tests.gateways import Gateway, png, problem, promote_tiny, running
from tests.servers import wait_until

from metseg.settings import Settings
from metseg_api import gateway as gateway_module
from metseg_api import http_protocol, middleware, multipart

SHAPE = (64, 512, 512)


@pytest.fixture(scope="module")
def deadlines() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(http_protocol, "HEADERS_S", 1.0)
        patched.setattr(http_protocol, "SEND_S", 1.0)
        patched.setattr(middleware, "MAX_PLAIN_BODY_S", 1.0)
        patched.setattr(multipart, "MAX_CHUNK_S", 1.0)
        patched.setattr(http_protocol, "MAX_CONNECTIONS", 40)
        patched.setattr(gateway_module, "UPLOAD_WAIT_S", 0.5)
        patched.setattr(gateway_module, "DOWNLOADS_PER_KEY", 3)
        patched.setattr(gateway_module, "DOWNLOAD_WAIT_S", 0.5)
        yield


@pytest.fixture(scope="module")
def impatient(redis, s3, deadlines) -> Iterator[Gateway]:
    with running(Settings(**redis.settings(), **s3.settings(), s3_bucket=f"gateway-{uuid.uuid4().hex}")) as gateway:
        promote_tiny(gateway.store)
        yield gateway


@pytest.fixture(scope="module")
def path(impatient) -> str:
    """A made file of 8 MiB, more than the buffers on the way hold."""
    job = impatient.accepted(png())
    mask = np.random.default_rng(0).random(SHAPE) > 0.5
    impatient.succeed(job.id, mask, tuple(f"s{index}" for index in range(len(mask))))
    return f"/v1/jobs/{job.id}/mask?format=zip"


@contextlib.contextmanager
def unread(gateway: Gateway, path: str) -> Iterator[socket.socket]:
    """A client that asks for a file and reads nothing."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", gateway.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        yield client


def is_cut(client: socket.socket) -> bool:
    """Whether the gateway ended the connection before the whole answer was sent."""
    total = 0
    try:
        while chunk := client.recv(2**16):
            total += len(chunk)
    except ConnectionResetError:
        return True
    return total < 4 * 2**20


def open_files() -> int:
    """Of this process, which the gateway runs in, those on disk that have no name."""
    links = [f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd")]
    return sum("(deleted)" in os.readlink(link) for link in links if os.path.lexists(link))


def test_a_client_that_stops_reading_is_disconnected_and_its_file_is_gone(impatient, path):
    before = open_files()
    with unread(impatient, path) as client:
        wait_until(lambda: open_files() > before, 10)
        wait_until(lambda: open_files() == before, 10)
        assert is_cut(client)


def test_a_client_that_reads_steadily_gets_all_of_a_file(impatient, path):
    with impatient.http.stream("GET", path) as response:
        size = 0
        for chunk in response.iter_raw(2**18):
            size += len(chunk)
            time.sleep(0.03)
    assert size == int(response.headers["Content-Length"])


def test_slow_readers_of_a_key_wait_for_each_other_and_are_refused_in_the_end(impatient, path, monkeypatch):
    monkeypatch.setattr(http_protocol, "SEND_S", 4.0)
    before = open_files()
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(unread(impatient, path))
        wait_until(lambda: open_files() >= before + 3, 10)
        detail = problem(impatient.http.get(path), 429, "too-many-downloads")
        assert "3 files" in detail
        assert impatient.http.get("/v1/jobs").status_code == 200
    wait_until(lambda: impatient.http.get(path).status_code == 200, 10)


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nHost: gat"], ids=["nothing", "half a header"])
def test_a_client_that_sends_no_request_is_disconnected(impatient, sent):
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as client:
        client.sendall(sent)
        assert client.recv(100) == b""


def test_the_headers_of_a_second_request_have_a_deadline_too(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        client.sendall(b"G")
        while client.recv(4096):
            pass


def test_idle_connections_beyond_the_limit_make_room_for_others(impatient, monkeypatch):
    monkeypatch.setattr(http_protocol, "HEADERS_S", 30.0)
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", impatient.port), timeout=10))
        for _ in range(18):
            with httpx.Client(base_url=impatient.url, timeout=5) as client:
                assert client.get("/healthz").status_code == 200


def byte_by_byte(client: socket.socket, path: str, headers: str) -> bytes:
    """The answer to a request whose body comes a byte at a time, for ever."""
    client.sendall(f"{path} HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9999\r\n{headers}\r\n\r\n".encode())
    client.settimeout(0.1)
    for _ in range(100):
        with contextlib.suppress(TimeoutError):
            return client.recv(4096)
        client.sendall(b"-")
    return b""


def test_unfinished_reviews_of_a_key_are_few_since_their_bodies_are_in_memory(impatient):
    job = impatient.accepted(png())
    impatient.succeed(job.id, np.zeros((1, 32, 32), bool), ("s",))
    review = f"/v1/jobs/{job.id}/review"
    head = f"PUT {review} HTTP/1.1\r\nHost: gateway\r\nIf-Match: *\r\nContent-Length: 8000000\r\n\r\n{{"
    put = partial(impatient.http.put, review, json={}, headers={"If-Match": "*"})
    assert put().status_code == 200
    with contextlib.ExitStack() as stack:

        def is_refused_after_one_more() -> bool:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", impatient.port), timeout=10))
            client.sendall(head.encode())
            return put().status_code == 429

        wait_until(is_refused_after_one_more, 10)
    wait_until(lambda: put().status_code == 200, 10)


@pytest.mark.parametrize(
    ("path", "headers", "answer"),
    [
        ("POST /v1/jobs", "Content-Type: multipart/form-data; boundary=x", b"400"),
        ("PUT /v1/models/champion", "Content-Type: application/json", b"408"),
    ],
    ids=["submission", "JSON"],
)
def test_a_body_that_comes_a_byte_at_a_time_is_refused(impatient, path, headers, answer):
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as client:
        received = byte_by_byte(client, path, headers)
    assert received.startswith(b"HTTP/1.1 " + answer)
