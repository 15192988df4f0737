"""The gateway as it is deployed: gunicorn with its configuration, several processes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.gateways import png, promote_tiny
from tests.servers import free_ports, wait_until

from metseg.storage import LocalFolderStore
from metseg_api import gunicorn_conf

pytestmark = pytest.mark.slow
COMMAND = [sys.executable, "-m", "gunicorn", "-c", "python:metseg_api.gunicorn_conf", "metseg_api.app:create_app()"]
HTTP = httpx.Client(headers={"Connection": "close"}, timeout=30)  # separate connections, so that all processes get some


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gunicorn")


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def process(folder, port, redis) -> Iterator[subprocess.Popen[bytes]]:
    store = LocalFolderStore(folder / "store")
    store.prepare(7)
    promote_tiny(store)
    (folder / "tmp").mkdir()
    environment = (
        os.environ
        | redis.environment()
        | {
            "METSEG_STORE_DIRECTORY": str(folder / "store"),
            "TMPDIR": str(folder / "tmp"),
            "WEB_CONCURRENCY": "2",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*COMMAND, "--bind", f"127.0.0.1:{port}"], env=environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, 100)
        assert process.poll() is None, (folder / "log").read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        return HTTP.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.TransportError:
        return False


def test_metrics_cover_all_processes(process, port):
    for _ in range(40):
        assert HTTP.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
    wait_until(lambda: counted(port) == 40, 5)  # counted once an answer has been sent
    assert [counted(port) for _ in range(5)] == [40] * 5


def counted(port: int) -> float:
    text = HTTP.get(f"http://127.0.0.1:{port}/metrics").text
    return float(re.search(r'route="/v1/models",status="200"} (\S+)', text)[1])


def test_counters_of_a_gateway_that_was_killed_are_deleted_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in (f"{dead.pid}-abandoned", f"{os.getpid()}-running"):
        (tmp_path / f"{gunicorn_conf.METRICS_PREFIX}{name}").mkdir()
    gunicorn_conf.delete_abandoned_metrics()
    assert [path.name for path in tmp_path.iterdir()] == [f"{gunicorn_conf.METRICS_PREFIX}{os.getpid()}-running"]


def test_no_answer_names_the_server(process, port):
    assert "server" not in HTTP.get(f"http://127.0.0.1:{port}/healthz").headers


def test_the_log_is_json_without_a_file_name(process, port, folder):
    sent = HTTP.post(f"http://127.0.0.1:{port}/v1/jobs", files={"files": ("DOE^JANE.png", png())})
    assert sent.status_code == 202
    wait_until(lambda: sent.headers["X-Request-ID"] in (folder / "log").read_text(), 5)
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    [line] = [each for each in lines if each.get("request_id") == sent.headers["X-Request-ID"]]
    assert (line["logger"], line["route"], line["status"]) == ("metseg.access", "/v1/jobs", 202)
    assert "DOE" not in (folder / "log").read_text()


def test_malformed_http_is_refused_and_harms_no_other_client(process, port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert answers(port)


def test_a_process_that_dies_is_replaced(process, port, folder):
    pids = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    workers = [pid for pid in pids if b"gunicorn" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: (folder / "log").read_text().count("Booting worker") >= 3, 20)
    assert answers(port)


def test_a_stop_is_quick_and_leaves_no_process(process, port, folder):
    job = HTTP.post(f"http://127.0.0.1:{port}/v1/jobs", files={"files": ("1.png", png())}).json()["id"]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as waiting:
        waiting.sendall(f"GET /v1/jobs/{job}?wait=60 HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        process.terminate()
        assert process.wait(20) == 0
    assert list((folder / "tmp").iterdir()) == []


def test_a_gateway_without_keys_refuses_a_public_address(folder, redis):
    environment = os.environ | redis.environment() | {"METSEG_STORE_DIRECTORY": str(folder / "store")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [*COMMAND, "--bind", "0.0.0.0:0"], env=environment, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode != 0
    assert b"everyone who can reach 0.0.0.0 could use the gateway; set METSEG_API_KEYS_FILE" in ended.stderr


@pytest.mark.parametrize(
    "content", [None, "{}", '[{"name": "ward"}]', "nonsense"], ids=["missing", "no list", "half", "text"]
)
def test_an_unreadable_key_file_stops_the_gateway_with_one_sentence(folder, redis, tmp_path, content):
    keys = tmp_path / "keys.json"
    if content is not None:
        keys.write_text(content)
    environment = os.environ | redis.environment() | {"METSEG_STORE_DIRECTORY": str(folder / "store")}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path), "METSEG_API_KEYS_FILE": str(keys)}
    ended = subprocess.run(
        [*COMMAND, "--bind", "127.0.0.1:0"], env=environment, capture_output=True, timeout=60, check=False, text=True
    )
    assert ended.returncode != 0
    [said] = [line for line in ended.stderr.splitlines() if not line.startswith("{")]  # the rest is the log
    assert said == f"metseg: {keys} cannot be read as a JSON list of API keys."
