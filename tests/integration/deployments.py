"""A store, a Redis and as many gateways and workers as a test needs."""

import contextlib
import hashlib
import io
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import pytest
import redis
from tests.segmentations import measured_structures
from tests.servers import RedisServer

from metseg.contracts import InputFile, Job, Problem, Request, Result
from metseg.errors import BadInput
from metseg.jobs import (
    ANONYMOUS,
    JobFactory,
    JobRunner,
    JobService,
    Maintenance,
    WorkerRegistry,
    celery_app,
    new_job_id,
)
from metseg.jobs.broker import JobQueue
from metseg.jobs.ids import earliest_id
from metseg.settings import Settings
from metseg.storage import ObjectStore

DAY_S = 86400
LEASE_TTL_S = 0.6
TIMEOUT_S = 0.5
ARTEFACTS = {"mask.nii.gz": b"mask", "probability.nii.gz": b"png"}
WHOLE = ["end.json", "input/0000", "request.json", "results/TOKEN"]
"""The store's objects of a job that succeeded."""
PROBLEM = Problem.of(BadInput("It cannot be read."))

in_a_folder = pytest.mark.parametrize("store", ["directory"], indirect=True)
"""For tests that do not depend on the store."""


class Deployment:
    """The state that a gateway and its workers share. Each call makes another process."""

    def __init__(self, store: ObjectStore, server: RedisServer, stack: contextlib.ExitStack):
        self.store = store
        self.redis = server
        self._stack = stack
        self.settings = Settings(redis_url=server.url, redis_timeout_s=TIMEOUT_S, job_time_limit_s=20)

    def _factory(self, store: ObjectStore | None, lease_ttl_s: float) -> JobFactory:
        return self._stack.enter_context(JobFactory(self.settings, store or self.store, lease_ttl_s))

    def service(
        self, store: ObjectStore | None = None, lease_ttl_s: float = LEASE_TTL_S, broker_url: str | None = None
    ) -> JobService:
        """A gateway, whose broker may be unreachable."""
        service = self._factory(store, lease_ttl_s).service()
        if broker_url is not None:
            app = self._stack.enter_context(celery_app(self.settings.model_copy(update={"redis_url": broker_url})))
            service._queue = JobQueue(app, self.settings.job_time_limit_s)
        return service

    def runner(self, store: ObjectStore | None = None, lease_ttl_s: float = LEASE_TTL_S) -> JobRunner:
        """A worker."""
        runner = self._factory(store, lease_ttl_s).runner()
        self._stack.callback(end, runner)
        return runner

    def maintenance(self, store: ObjectStore | None = None, lease_ttl_s: float = LEASE_TTL_S) -> Maintenance:
        return self._factory(store, lease_ttl_s).maintenance()

    def workers(self) -> WorkerRegistry:
        return self._factory(None, LEASE_TTL_S).workers()

    def client(self) -> "redis.Redis":
        client = redis.Redis.from_url(self.settings.redis_url, decode_responses=True)
        self._stack.callback(client.close)
        return client

    def keys(self, job_id: str) -> list[str]:
        """The store's objects of a job, whichever attempt wrote its results."""
        found = [info.key.removeprefix(f"jobs/{job_id}/") for info in self.store.list(f"jobs/{job_id}/")]
        found += [info.key.replace(job_id, "ID") for info in self.store.list(f"open/{job_id}")]
        return [re.sub(r"^results/[0-9a-f]{32}$", "results/TOKEN", key) for key in found]


def end(runner: JobRunner) -> None:
    """Shut the worker down cleanly."""
    for job_id in list(runner._attempts):
        runner.release(job_id)


def kill(runner: JobRunner) -> None:
    """End the worker like `kill -9`: its leases are neither renewed nor released."""
    for attempt in runner._attempts.values():
        attempt.lease.stop_renewing()
    runner._attempts.clear()


@contextlib.contextmanager
def deployment(store: ObjectStore, server: RedisServer) -> Iterator[Deployment]:
    server.flush()
    with contextlib.ExitStack() as stack:
        yield Deployment(store, server, stack)


def upload(
    jobs: JobService,
    content: bytes = b"pixels",
    holds: str | None = None,
    *,
    days_ago: float = 0,
    owner: str = ANONYMOUS,
) -> Request:
    """The gateway's steps before it submits; its id may say that they were some days ago."""
    job_id = f"{earliest_id(1000 * (time.time() - days_ago * DAY_S))}{new_job_id(owner)[12:]}"
    digest = hashlib.sha256(content).hexdigest()
    key = jobs.input_key(job_id, 0)
    file = InputFile(key=key, name="DOE JOHN.png", size_bytes=len(content), sha256=digest)
    request = Request(id=job_id, created_at=datetime.now(UTC), inputs=[file], key_sha256=holds)
    jobs.deposit(request, [io.BytesIO(content)])
    return request


def submit(jobs: JobService, days_ago: float = 0) -> Job:
    return jobs.submit(upload(jobs, days_ago=days_ago))


def result_of(job_id: str, model: str = "20260101-000000-tiny") -> Result:
    return Result(
        job_id=job_id,
        model_version=model,
        network="tiny",
        structure="core",
        structures=measured_structures(np.zeros((1, 8, 8), bool)),
        shape=(1, 8, 8),
        spacing_mm=None,
        lesions=[],
        slices=[],
        warnings=[],
        durations_s={"predict": 0.1},
    )


class Interfering:
    """A store that calls a function just before, or just after, an object with this in its key is written."""

    def __init__(
        self,
        store: ObjectStore,
        part_of_key: str,
        *,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ):
        self._store, self._before, self._after = store, before, after
        self._concerns = lambda key: part_of_key in key

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, key: str, *args: object, **kwargs: object) -> None:
        mine = self._concerns(key)
        if mine:
            self._before()
        self._store.put(key, *args, **kwargs)
        if mine:
            self._after()

    def create(self, key: str, *args: object, **kwargs: object) -> bool:
        mine = self._concerns(key)
        if mine:
            self._before()
        created = self._store.create(key, *args, **kwargs)
        if mine:
            self._after()
        return created
