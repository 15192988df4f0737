"""Real Redis and S3 servers for the integration tests, stores on them, and processes that share jobs."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.gateways import Gateway, promote_tiny, running
from tests.integration.deployments import Deployment, deployment, submit
from tests.servers import RedisServer, S3Server, redis_server, s3_server

from metseg.contracts import Job
from metseg.jobs import JobRunner, JobService, Maintenance
from metseg.settings import Settings
from metseg.storage import ObjectStore, open_store
from metseg.storage.base import MARKER


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("servers")) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(redis: RedisServer, s3: S3Server) -> Iterator[Gateway]:
    """One per module, on a separate bucket, with the tiny model as champion."""
    with running(Settings(**redis.settings(), **s3.settings(), s3_bucket=f"gateway-{uuid.uuid4().hex}")) as gateway:
        promote_tiny(gateway.store)
        yield gateway


@pytest.fixture(params=["s3", "directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ObjectStore]:
    """Each kind of store in turn, prepared and empty."""
    if request.param == "directory":
        changes = {"store_directory": tmp_path / "store"}
    else:
        changes = request.getfixturevalue("s3").settings()
    store = open_store(Settings(**changes))
    store.prepare(job_days=7)
    yield store
    for top in {info.key.split("/")[0] for info in store.list("")} - {MARKER}:
        store.delete(top)


@pytest.fixture
def here(store: ObjectStore, redis: RedisServer) -> Iterator[Deployment]:
    with deployment(store, redis) as here:
        yield here


@pytest.fixture
def jobs(here: Deployment) -> JobService:
    """The gateway's side of jobs."""
    return here.service()


@pytest.fixture
def maintenance(here: Deployment) -> Maintenance:
    return here.maintenance()


@pytest.fixture
def worker(here: Deployment) -> JobRunner:
    return here.runner()


@pytest.fixture
def other(here: Deployment) -> JobRunner:
    """Another worker's runner."""
    return here.runner()


@pytest.fixture
def job(here: Deployment, jobs: JobService) -> Job:
    return submit(jobs)
