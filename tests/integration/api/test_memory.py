"""The gateway's memory: no request on the largest study within the limits makes a process grow by more than 100 MiB."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from tests.gateways import begin, promote_tiny
from tests.integration.deployments import submit
from tests.largest_study import SHAPE, largest_artefacts, largest_result
from tests.servers import free_ports, wait_until

from metseg.jobs import JobFactory
from metseg.results.exports import EXPORTS
from metseg.settings import MIB, Settings
from metseg.storage import LocalFolderStore

pytestmark = pytest.mark.slow
MAX_GROWTH_MIB = 100
COMMAND = [sys.executable, "-m", "gunicorn", "-c", "python:metseg_api.gunicorn_conf", "metseg_api.app:create_app()"]
SMALL = (2, 32, 40)
NOT_OF_THIS_STUDY = {
    *("mask?format=dicom-seg", "mask?format=rtstruct", "structured-report", "secondary-capture"),
    "probability?format=png",
    "uncertainty?format=png",
}
AS_PROBABILITY = {"uncertainty?format=tiff", "uncertainty?format=zip"}
EXPORTED = [each.kind + ("" if each.format is None else f"?format={each.format}") for each in EXPORTS.values()]
LABELS = "mask?format=nifti&structure=labels"
PATHS = [
    *(path for path in EXPORTED if path not in NOT_OF_THIS_STUDY | AS_PROBABILITY),
    *(LABELS, "result", "overlay/5", f"overlay/{SHAPE[0] - 1}", "slice/5"),
    *("volume/mask", "volume/flair", "volume/probability"),
]


@dataclass
class Measured:
    """A gateway of one process, and jobs that are done: of a small study, the largest, and that sent as NIfTI."""

    http: httpx.Client
    process: psutil.Process
    small: str
    large: str
    nifti: str

    def read(self, job_id: str, path: str) -> int:
        """Read an answer to its end; its size."""
        with self.http.stream("GET", f"/v1/jobs/{job_id}/{path}") as response:
            response.raise_for_status()
            return sum(map(len, response.iter_raw()))

    def growth_mib(self, job_id: str, *paths: str) -> float:
        """By how much the process grew at most while these were read at a time."""
        proc = Path(f"/proc/{self.process.pid}")
        (proc / "clear_refs").write_text("5")
        before = self.process.memory_info().rss
        with ThreadPoolExecutor(len(paths)) as pool:
            assert all(pool.map(lambda path: self.read(job_id, path), paths))
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", (proc / "status").read_text())[1]) * 1024
        return (peak - before) / MIB


@pytest.fixture(scope="module")
def measured(redis, tmp_path_factory) -> Iterator[Measured]:
    folder = tmp_path_factory.mktemp("memory")
    store = LocalFolderStore(folder / "store")
    store.prepare(7)
    promote_tiny(store)
    (folder / "spool").mkdir()
    settings = Settings(store_directory=folder / "store", **redis.settings())
    with JobFactory(settings, store) as jobs:
        ids = [submit(jobs.service()).id for _ in range(3)]
        small, large = largest_artefacts(SMALL), largest_artefacts()
        for job_id, artefacts, result in zip(
            ids,
            (small, large, large),
            (largest_result(ids[0], SMALL), largest_result(ids[1]), largest_result(ids[2], as_nifti=True)),
            strict=True,
        ):
            runner = jobs.runner()
            assert begin(runner, job_id) is not None
            runner.finish(job_id, result, artefacts)
    with gateway(folder, settings.redis_url) as (http, process):
        yield Measured(http, process, *ids)


@contextlib.contextmanager
def gateway(folder: Path, redis_url: str) -> Iterator[tuple[httpx.Client, psutil.Process]]:
    [port] = free_ports(1)
    environment = os.environ | {
        "METSEG_REDIS_URL": redis_url,
        "METSEG_STORE_DIRECTORY": str(folder / "store"),
        "TMPDIR": str(folder / "spool"),
        "WEB_CONCURRENCY": "1",
        "PYTHONPATH": os.environ.get("METSEG_MEASURED", os.pathsep.join(sys.path)),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*COMMAND, "--bind", f"127.0.0.1:{port}"], env=environment, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as http:
            wait_until(lambda: answers(http) or process.poll() is not None, 100)
            [child] = psutil.Process(process.pid).children()
            yield http, child
    finally:
        process.terminate()
        process.wait(60)


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module", autouse=True)
def warm(measured):
    """Load the libraries that each path needs, with a small study."""
    for path in PATHS:
        measured.read(measured.small, re.sub(r"(overlay|slice)/\d+", r"\1/1", path))


@pytest.mark.parametrize("path", PATHS)
def test_no_request_on_the_largest_study_makes_the_gateway_grow(measured, path):
    grown = measured.growth_mib(measured.large, path)
    print(f"{path}: {grown:.0f} MiB")
    assert grown < MAX_GROWTH_MIB


@pytest.mark.parametrize("path", ["mask?format=nifti", "probability?format=nifti", LABELS])
def test_nor_does_the_way_back_to_a_nifti_file(measured, path):
    grown = measured.growth_mib(measured.nifti, path)
    print(f"nifti {path}: {grown:.0f} MiB")
    assert grown < MAX_GROWTH_MIB


@pytest.mark.parametrize("paths", [["overlay/5"] * 4, ["probability?format=zip", "mask?format=zip"]], ids=str)
def test_nor_do_several_at_a_time(measured, paths):
    grown = measured.growth_mib(measured.large, *paths)
    print(f"{paths}: {grown:.0f} MiB")
    assert grown < MAX_GROWTH_MIB
