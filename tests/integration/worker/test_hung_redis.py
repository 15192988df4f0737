"""A worker accepts jobs again soon after a hung Redis responds again."""

import os
import subprocess
import sys
import threading
import time

import pytest
from tests.integration.studies import phantom_files, submit
from tests.models import VERSION, tiny_card, tiny_model
from tests.servers import redis_server, wait_until

from metseg.contracts import JobStatus
from metseg.errors import QueueUnavailable
from metseg.jobs import JobFactory
from metseg.registry import Registry
from metseg.settings import Settings
from metseg.storage import open_store

NODE = "celery@metseg-hung"
START_S = 60.0
RECOVERY_S = 30.0


class Supervised:
    """A worker that is restarted whenever it exits, as by compose and `make local`."""

    def __init__(self, settings, folder):
        self._command = [sys.executable, "-m", "celery", "--quiet", "-A", "metseg_worker.app", "worker"]
        self._command += ["--without-gossip", "--without-mingle", "--hostname", NODE, "--loglevel", "INFO"]
        self._environment = {**os.environ, "METSEG_THREADS": "1", "PYTHONPATH": ":".join(sys.path)}
        self._environment |= {f"METSEG_{name.upper()}": str(value) for name, value in settings.items()}
        self.log = folder / "worker.log"
        self.starts = 0
        self._stopped = threading.Event()
        self._process = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stopped.is_set():
            self.starts += 1
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
            self._process.wait()

    def __enter__(self):
        self._thread.start()
        wait_until(lambda: self.log.exists() and b" ready." in self.log.read_bytes(), START_S)
        return self

    def __exit__(self, *failure):
        self._stopped.set()
        self._process.terminate()
        self._thread.join(60)


@pytest.fixture
def deployment(tmp_path):
    with redis_server(tmp_path) as redis:
        changes = {"store_directory": tmp_path / "store", "redis_url": redis.url}
        settings = Settings(**changes)
        store = open_store(settings)
        store.prepare(job_days=1)
        model = tiny_model()
        Registry(store).publish(tiny_card(model), {"model.onnx": model})
        Registry(store).promote(VERSION)
        with Supervised(changes, tmp_path) as worker, JobFactory(settings, store) as jobs:
            yield redis, store, jobs.service(), worker


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("hang_s", [7])  # `make chaos` tests 7, 20 and 60 s
def test_a_worker_accepts_jobs_soon_after_redis_responds_again(deployment, hang_s):
    """A job ends while Redis hangs, so that its acknowledgement may fail."""
    redis, store, jobs, worker = deployment
    [content] = phantom_files(1).values()
    accepted, recoveries_s = [], []
    for _ in range(2):
        accepted.append(submit(store, jobs, {f"{index}.png": content for index in range(12)}).id)
        wait_until(lambda: (job := jobs.get(accepted[-1])).progress is not None or job.status.final, START_S)
        with redis.paused():
            time.sleep(hang_s)
        began = time.monotonic()
        accepted.append(submit_again(store, jobs, phantom_files(1)))
        assert jobs.wait(accepted[-1], 200).status is JobStatus.SUCCEEDED
        recoveries_s.append(time.monotonic() - began)
    assert [jobs.wait(job_id, 200).status for job_id in accepted] == [JobStatus.SUCCEEDED] * 4
    assert max(recoveries_s) < RECOVERY_S
    assert worker.starts == 1


def submit_again(store, jobs, files):
    """Submit like a client, which retries while Redis is unavailable."""
    while True:
        try:
            return submit(store, jobs, files).id
        except QueueUnavailable:
            time.sleep(0.2)
