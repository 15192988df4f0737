"""A server with a worker, as clients see it: the real gateway, the real pipeline, the tiny model.

    with hospital(tmp_path, redis) as server:
        Client(server.url)

The worker is a thread that `hold` pauses, so that a test can see jobs wait.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.gateways import Gateway, promote_tiny, running
from tests.integration.studies import phantom_files

from metseg.contracts import Job, JobStatus
from metseg.settings import Settings
from metseg_worker.context import WorkerContext, open_context
from metseg_worker.tasks import run_job

LOOK_S = 0.05


@dataclass
class Hospital:
    """The server."""

    gateway: Gateway
    worker: WorkerContext
    hold: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return self.gateway.url

    def jobs(self) -> list[Job]:
        """All jobs of the store, newest first."""
        ids = {
            info.key.split("/")[1] for info in self.gateway.store.list("jobs/") if info.key.endswith("/request.json")
        }
        return [self.gateway.jobs.get(job_id) for job_id in sorted(ids, reverse=True)]

    def tend(self) -> None:
        """Process queued jobs, until stopped."""
        while not self.stop.wait(LOOK_S):
            if self.hold.is_set():
                continue
            for job in self.jobs():
                if job.status is JobStatus.QUEUED:
                    run_job(self.worker, job.id)


@contextmanager
def hospital(folder: Path, redis_url: str, **settings: object) -> Iterator[Hospital]:
    """A server with its store in a folder."""
    configured = Settings(store_directory=folder / "store", redis_url=redis_url, **settings)
    with running(configured) as gateway:
        promote_tiny(gateway.store)
        server = Hospital(gateway, open_context(configured))
        thread = threading.Thread(target=server.tend)
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            thread.join(60)


def study(folder: Path, slices: int = 2, seed: int = 7) -> Path:
    """A folder with the slices of a phantom."""
    folder.mkdir(parents=True)
    for name, content in phantom_files(slices, seed, size_px=64).items():
        (folder / name).write_bytes(content)
    return folder


def started(*arguments: object, **variables: str) -> "subprocess.Popen[str]":
    """The command in a separate process."""
    heeding = ["env", "--default-signal=INT"]  # tests in the background ignore Ctrl-C, and a child would inherit that
    command = [*heeding, sys.executable, "-m", "metseg.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path), "METSEG_API_KEY": "", **variables}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
