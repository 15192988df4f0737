"""A store, a Redis and as many processes' worth of `Jobs` as a test needs."""

import contextlib
import hashlib
import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
import redis
from tests.servers import RedisServer

from metseg.contracts import InputFile, Job, Problem, Request, Result
from metseg.errors import BadInput
from metseg.jobs import Jobs, broker, new_id
from metseg.settings import Settings
from metseg.storage import ObjectStore

CLAIM_TTL_S = 0.6
TIMEOUT_S = 0.5
ARTEFACTS = {"mask.nii.gz": b"mask", "probability.nii.gz": b"png"}
RESULTS = [f"results/{name}" for name in ("mask.nii.gz", "probability.nii.gz", "result.json")]
WHOLE = ["end.json", "input/0000", "job.json", "request.json", *RESULTS]
"""What the store has of a job that succeeded; the folder of the attempt is left out."""
PROBLEM = Problem.of(BadInput("It cannot be read."))

in_a_folder = pytest.mark.parametrize("store", ["directory"], indirect=True)
"""For a test in which the store makes no difference."""


class Deployment:
    """What a gateway and its workers share. `jobs()` is another process each time."""

    def __init__(self, store: ObjectStore, server: RedisServer, stack: contextlib.ExitStack):
        self.store = store
        self.redis = server
        self._stack = stack
        self.settings = Settings(redis_url=server.url, redis_timeout_s=TIMEOUT_S, job_time_limit_s=20)

    def jobs(self, store: ObjectStore | None = None, claim_ttl_s: float = CLAIM_TTL_S, **changes: str) -> Jobs:
        settings = self.settings.model_copy(update=changes)
        client = redis.Redis.from_url(
            self.settings.redis_url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S
        )
        self._stack.callback(client.close)
        celery = self._stack.enter_context(broker(settings))
        jobs = Jobs(store or self.store, client, celery, settings, claim_ttl_s)
        self._stack.callback(end, jobs)
        return jobs

    def client(self) -> "redis.Redis":
        client = redis.Redis.from_url(self.settings.redis_url, decode_responses=True)
        self._stack.callback(client.close)
        return client

    def keys(self, job_id: str) -> list[str]:
        """What the store has of a job, whichever attempt's results it has."""
        found = [info.key.removeprefix(f"jobs/{job_id}/") for info in self.store.list(f"jobs/{job_id}/")]
        return [re.sub(r"^results/[0-9a-f]{32}/", "results/", key) for key in found]


def end(jobs: Jobs) -> None:
    """End the process in good order."""
    for job_id in list(jobs._claims):
        jobs.release(job_id)


def kill(jobs: Jobs) -> None:
    """End the process as `kill -9` does: its claims are renewed no more, and not given up either."""
    for claim in jobs._claims.values():
        claim._stop.set()
        claim._thread.join()
    jobs._claims.clear()


@contextlib.contextmanager
def deployment(store: ObjectStore, server: RedisServer) -> Iterator[Deployment]:
    server.flush()
    with contextlib.ExitStack() as stack:
        yield Deployment(store, server, stack)


def upload(jobs: Jobs, content: bytes = b"pixels", holds: str | None = None) -> Request:
    """What the gateway does before it submits."""
    job_id = new_id()
    digest = hashlib.sha256(content).hexdigest()
    key = jobs.input_key(job_id, 0)
    file = InputFile(key=key, name="DOE JOHN.png", size_bytes=len(content), sha256=digest)
    request = Request(id=job_id, created_at=datetime.now(UTC), inputs=[file], key_sha256=holds)
    jobs.deposit(request, [io.BytesIO(content)])
    return request


def submit(jobs: Jobs) -> Job:
    return jobs.submit(upload(jobs))


def result_of(job_id: str, model: str = "20260101-000000-tiny") -> Result:
    return Result(
        job_id=job_id,
        model_version=model,
        network="tiny",
        threshold=0.5,
        shape=(1, 8, 8),
        spacing_mm=None,
        lesions=[],
        slices=[],
        warnings=[],
        durations_s={"predict": 0.1},
    )


class Interfering:
    """A store in which something else happens just before, or just after, a certain object is written."""

    def __init__(
        self,
        store: ObjectStore,
        name: str,
        *,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ):
        self._store, self._name, self._before, self._after = store, name, before, after

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put(self, key: str, *args: object, **kwargs: object) -> None:
        mine = key.endswith(self._name)
        if mine:
            self._before()
        self._store.put(key, *args, **kwargs)
        if mine:
            self._after()

    def create(self, key: str, *args: object, **kwargs: object) -> bool:
        mine = key.endswith(self._name)
        if mine:
            self._before()
        created = self._store.create(key, *args, **kwargs)
        if mine:
            self._after()
        return created
