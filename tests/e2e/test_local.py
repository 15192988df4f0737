"""`make local`: without Docker, from a fresh start to a segmented slice, until Ctrl-C."""

import contextlib
import io
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from tests.servers import free_ports, wait_until

from metseg import phantom
from metseg.client import Client
from metseg.contracts import JobStatus

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def ports(tmp_path: Path) -> dict[str, str]:
    api, ui = free_ports(2)
    return {"METSEG_API_PORT": str(api), "METSEG_UI_PORT": str(ui), "METSEG_STORE_DIRECTORY": str(tmp_path / "store")}


@contextlib.contextmanager
def make_local(ports: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`make local` as in a terminal: a separate process group, all of which Ctrl-C reaches."""
    process = subprocess.Popen(["make", "local"], cwd=ROOT, env={**os.environ, **ports}, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def until_ready(process: subprocess.Popen[bytes], url: str, limit_s: float) -> float:
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        assert process.poll() is None, "make local ended"
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz").status_code == 200:
                return time.monotonic() - began
        time.sleep(0.2)
    pytest.fail(f"not ready within {limit_s} s")


def family(ports: dict[str, str], *words: str) -> list[psutil.Process]:
    """The processes of a run, recognised by its folder in their environment, with all words in their command."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = process.environ().get("METSEG_STORE_DIRECTORY") == ports["METSEG_STORE_DIRECTORY"]
            if ours and set(words) <= set(process.cmdline()):
                found.append(process)
    return found


def main_worker(ports: dict[str, str]) -> psutil.Process | None:
    """Celery's main process: the one whose parent is not Celery."""
    workers = family(ports, "celery")
    return next((each for each in workers if each.ppid() not in {other.pid for other in workers}), None)


def segment(url: str, slice_png: bytes) -> str:
    """The id of a job that succeeded."""
    with Client(url) as client:
        job = client.submit([("slice.png", slice_png)])
        assert client.wait(job.id).status is JobStatus.SUCCEEDED
    return job.id


@pytest.fixture(scope="module")
def slice_png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(phantom.head(7).volume.pixels[12].astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_fresh_start_segments_a_slice_and_leaves_no_process(ports: dict[str, str], slice_png: bytes) -> None:
    url = f"http://127.0.0.1:{ports['METSEG_API_PORT']}"
    with make_local(ports) as process:
        log.info("ready after %.1f s", until_ready(process, url, 300))
        job = segment(url, slice_png)
        page = httpx.get(f"http://127.0.0.1:{ports['METSEG_UI_PORT']}/_stcore/health")
        assert page.status_code == 200
        assert len(family(ports)) >= 5
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
        assert family(ports) == []
    with make_local(ports) as process:
        again_s = until_ready(process, url, 60)
        log.info("ready again after %.1f s", again_s)
        with Client(url) as client:
            assert client.job(job).status is JobStatus.SUCCEEDED, "the store survives a restart"
        process.terminate()
        process.wait(timeout=60)
        assert family(ports) == []


def test_a_killed_worker_is_restarted_and_one_that_keeps_crashing_stops_everything(
    ports: dict[str, str], slice_png: bytes
) -> None:
    url = f"http://127.0.0.1:{ports['METSEG_API_PORT']}"
    with make_local(ports) as process:
        until_ready(process, url, 300)
        segment(url, slice_png)
        others = {each.pid for word in ("gunicorn", "streamlit") for each in family(ports, word)}
        assert len(others) >= 3
        first = main_worker(ports)
        assert first is not None
        first.kill()
        wait_until(lambda: main_worker(ports) not in (None, first), 20)
        segment(url, slice_png)
        assert others <= set(psutil.pids()), "gateway and page kept running"
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if worker := main_worker(ports):
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.kill()
            time.sleep(0.2)
        assert process.wait(timeout=60) != 0
        assert family(ports) == []


@pytest.mark.parametrize("variable", ["METSEG_API_PORT", "METSEG_UI_PORT"])
def test_a_port_in_use_is_refused_with_its_number(ports: dict[str, str], variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(ports[variable])))
        taken.listen()
        done = subprocess.run(
            ["make", "local"], cwd=ROOT, env={**os.environ, **ports}, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode != 0
    assert f"Port {ports[variable]} is in use" in done.stderr
    assert variable in done.stderr
    assert family(ports) == []
