"""`make local`: without Docker, from nothing to a segmented slice, until Ctrl-C."""

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
from tests.servers import free_ports

from metseg import phantom
from metseg.client import Client
from metseg.contracts import JobStatus

log = logging.getLogger(__name__)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def ports(tmp_path: Path) -> dict[str, str]:
    api, ui = free_ports(2)
    return {"METSEG_API_PORT": str(api), "METSEG_UI_PORT": str(ui), "METSEG_VAR": str(tmp_path / "var")}


@contextlib.contextmanager
def make_local(ports: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`make local` as in a terminal: a group of its own, which Ctrl-C reaches whole."""
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


def family(var: str) -> list[str]:
    """The processes that were told to work on this folder: all of a run, wherever they hang in the tree."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("METSEG_VAR") == var:
                found.append(f"{process.pid} {' '.join(process.cmdline())}")
    return found


def test_from_nothing_to_a_mask_and_no_process_is_left(ports: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{ports['METSEG_API_PORT']}"
    buffer = io.BytesIO()
    Image.fromarray(phantom.head(7).volume.pixels[12].astype(np.uint8)).save(buffer, "PNG")
    with make_local(ports) as process:
        log.info("ready after %.1f s", until_ready(process, url, 300))
        with Client(url) as client:
            job = client.submit([("slice.png", buffer.getvalue())])
            assert client.job(job.id, wait_s=60).status is JobStatus.SUCCEEDED
        page = httpx.get(f"http://127.0.0.1:{ports['METSEG_UI_PORT']}/_stcore/health")
        assert page.status_code == 200
        assert len(family(ports["METSEG_VAR"])) >= 5
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
        assert family(ports["METSEG_VAR"]) == []
    with make_local(ports) as process:
        again_s = until_ready(process, url, 60)
        log.info("ready again after %.1f s", again_s)
        assert again_s < 20
        with Client(url) as client:
            assert client.job(job.id).status is JobStatus.SUCCEEDED, "what was stored is still there"
        process.terminate()
        process.wait(timeout=60)
        assert family(ports["METSEG_VAR"]) == []


@pytest.mark.parametrize("variable", ["METSEG_API_PORT", "METSEG_UI_PORT"])
def test_a_taken_port_is_refused_in_words(ports: dict[str, str], variable: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(ports[variable])))
        taken.listen()
        done = subprocess.run(
            ["make", "local"], cwd=ROOT, env={**os.environ, **ports}, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode != 0
    assert f"Port {ports[variable]} is taken" in done.stderr
    assert variable in done.stderr
    assert family(ports["METSEG_VAR"]) == []
