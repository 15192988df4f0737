"""A running gateway for tests: the real application on a real socket, and a simulated worker."""

import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from PIL import Image
from tests.models import VERSION, tiny_card, tiny_model
from tests.segmentations import measured_structures
from tests.servers import wait_until
from tests.slice_archives import archived

from metseg import formats
from metseg.contracts import Job, Request, Result, SliceMeasurements
from metseg.jobs import JobFactory, JobRunner, JobService, Maintenance, WorkerRegistry
from metseg.registry import Registry
from metseg.results import SLICE_ARCHIVE
from metseg.settings import Settings
from metseg.storage import ObjectStore
from metseg_api.app import create_app
from metseg_api.gateway import ThreadLimiters
from metseg_api.http_protocol import GatewayProtocol


@dataclass
class Gateway:
    """A gateway that listens on a loopback port."""

    port: int
    settings: Settings
    store: ObjectStore
    jobs: JobService
    runner: JobRunner
    maintenance: Maintenance
    workers: WorkerRegistry
    threads: ThreadLimiters
    http: httpx.Client = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def submit(self, *files: bytes, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        """Send files as `files`, named in order."""
        parts = [("files", (f"slice_{index}.png", data)) for index, data in enumerate(files)]
        return self.http.post("/v1/jobs", files=parts, data=fields, headers=headers)

    def accepted(self, *files: bytes) -> Job:
        """A job of these files, or of one slice."""
        response = self.submit(*(files or (png(),)))
        assert response.status_code == 202, response.text
        return Job.model_validate(response.json())

    def job_keys(self) -> list[str]:
        """Every key below `jobs/` in the store."""
        return [info.key for info in self.store.list("jobs/")]

    def succeed(self, job_id: str, mask: np.ndarray, names: tuple[str, ...]) -> None:
        """Finish a job as a worker does, with this mask."""
        assert begin(self.runner, job_id) is not None
        probability = np.where(mask, 0.75, 0.25).astype(np.float32)
        artefacts = {
            "mask.nii.gz": formats.write_mask(mask, names, "nifti"),
            "probability.nii.gz": formats.write_probability(probability, "nifti"),
            "whole.nii.gz": formats.write_mask(mask, names, "nifti"),
            "whole_probability.nii.gz": formats.write_probability(probability, "nifti"),
            "lesions.nii.gz": formats.write_mask(mask.astype(np.uint8), names, "nifti"),
            SLICE_ARCHIVE: archived(png(index, *mask.shape[1:]) for index in range(len(mask))),
        }
        self.runner.finish(job_id, result(job_id, mask, names), artefacts)


def begin(runner: JobRunner, job_id: str) -> Request | None:
    """Lease and start a job, as a worker does; None if there is nothing to do."""
    request = runner.lease(job_id)
    return request if request is not None and runner.start(job_id) else None


@contextmanager
def running(settings: Settings) -> Iterator[Gateway]:
    """A gateway with a prepared store and no model; requests go through uvloop and h11 as in the deployment."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        port=0,
        http=GatewayProtocol,
        ws="none",
        loop="uvloop",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), 20)
        assert server.started
        port = server.servers[0].sockets[0].getsockname()[1]
        parts = app.state.gateway
        parts.store.prepare(settings.job_days)
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
            JobFactory(settings, parts.store) as worker,
        ):
            sides = (parts.jobs, worker.runner(), worker.maintenance(), worker.workers())
            yield Gateway(port, settings, parts.store, *sides, parts.threads, http)
    finally:
        server.should_exit = True
        thread.join(20)


def promote_tiny(store: ObjectStore) -> None:
    """Promote the tiny model."""
    registry, model = Registry(store), tiny_model()
    registry.publish(tiny_card(model), {"model.onnx": model})
    registry.promote(VERSION)


@contextmanager
def running_alone(folder: Path, redis_url: str) -> Iterator[Gateway]:
    """A gateway whose store is a folder, with the tiny model as champion."""
    with running(Settings(store_directory=folder, redis_url=redis_url)) as gateway:
        promote_tiny(gateway.store)
        yield gateway


def png(seed: int = 0, rows: int = 32, columns: int = 32) -> bytes:
    """A grey slice of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (rows, columns), dtype=np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    """A ZIP of these files, packed."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def result(job_id: str, mask: np.ndarray, names: tuple[str, ...]) -> Result:
    """A result for a mask, without measured lesions."""
    slices = [
        SliceMeasurements(
            index=index, name=name, lesions=[], area_px=int(plane.sum()), area_mm2=None, highest_probability=0.75
        )
        for index, (name, plane) in enumerate(zip(names, mask, strict=True))
    ]
    return Result(
        job_id=job_id,
        model_version=VERSION,
        network="tiny",
        structure="core",
        structures=measured_structures(mask),
        shape=mask.shape,
        spacing_mm=None,
        lesions=[],
        slices=slices,
        warnings=[],
        durations_s={},
    )


def problem(response: httpx.Response, status: int, kind: str) -> str:
    """The detail of an answer that must be this problem."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    body = response.json()
    assert (response.status_code, body["status"], body["type"]) == (status, status, f"/problems/{kind}"), body
    assert body["title"]
    assert body["detail"].endswith((".", "?"))
    assert body["instance"] == f"urn:metseg:request:{response.headers['X-Request-ID']}"
    return body["detail"]
