"""Maintenance and pages of jobs with many stored jobs: requests to a real S3 server, and seconds.

python -m tests.bench.bench_upkeep [--jobs 100000]

SeaweedFS and Redis run on this machine. Each stored job has one object, an expired one nine, as a job of a slice has;
some jobs wait and some have ended.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.markdown_tables import rows as table
from tests.servers import RedisServer, S3Server, free_ports, redis_server

from metseg.contracts import InputFile, Job, JobStatus, Request
from metseg.jobs import JobFactory, JobService, Maintenance, expiry, new_job_id
from metseg.jobs.expiry import CLOCK, QUIET
from metseg.jobs.ids import earliest_id
from metseg.settings import Settings
from metseg.storage import ObjectInfo, S3Store

DAY_S = 86400
JOB_DAYS = 7
EXPIRED = 600
"""As many as expire in an hour where 100,000 jobs are stored for seven days."""
OBJECTS = ["request.json", "end.json", "input/0000", f"results/{'0' * 32}"]
WAITING = 20
LISTED = 40
FILLERS = 4

Measure = Callable[[str, Callable[[], object]], object]


class Store(S3Store):
    """A store that counts its requests, and whose objects are as old as the test says."""

    def __init__(self, server: S3Server) -> None:
        super().__init__(server.endpoint, "metseg", access_key=server.access_key, secret_key=server.secret_key)
        self.requests = 0
        self.age = timedelta(0)
        pools: list[Any] = [self._http, self._client_without_retries._http]
        for pool in pools:
            pool.urlopen = self._counted(pool.urlopen)

    def _counted(self, request: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: object, **kwargs: object) -> object:
            self.requests += 1
            return request(*args, **kwargs)

        return counted

    def list(self, prefix: str, **options: Any) -> Iterator[ObjectInfo]:
        """As every store does, with older objects of jobs."""
        age = self.age if prefix.startswith("jobs/") else timedelta(0)
        return (info._replace(modified=info.modified - age) for info in super().list(prefix, **options))


class QuickS3(S3Server):
    """An S3 server that is filled quickly: it keeps small objects with their names."""

    def command(self) -> list[str]:
        return [*super().command(), "-filer.saveToFilerLimit=4096"]

    def fill(self, keys: Sequence[str], content: bytes) -> None:
        """Write objects without S3's signatures."""

        def put(some: Sequence[str]) -> None:
            filer = HTTPConnection("127.0.0.1", int(self._other_ports[5]))
            for key in some:
                filer.request("PUT", f"/buckets/metseg/{key}", content)
                filer.getresponse().read()

        with ThreadPoolExecutor(FILLERS) as pool:
            list(pool.map(put, [keys[first::FILLERS] for first in range(FILLERS)]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill a store, run each kind of pass, and print the table."""
    parser = argparse.ArgumentParser("bench_upkeep", description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    options = parser.parse_args(arguments)
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder, _servers(Path(folder)) as (redis, s3):
        store = Store(s3)
        store.prepare(JOB_DAYS)
        with JobFactory(Settings(redis_url=redis.url, job_days=JOB_DAYS), store) as factory:
            jobs, maintenance = factory.service(), factory.maintenance()
            _fill(s3, options.jobs)
            _current(store, jobs)

            def measure(what: str, step: Callable[[], object]) -> object:
                store.requests, began = 0, time.perf_counter()
                outcome = step()
                rows.append([what, str(store.requests), f"{time.perf_counter() - began:.2f}"])
                return outcome

            redis.flush()
            _passes(measure, jobs, maintenance, redis)
            _expiry(measure, store, maintenance)
    print(f"{options.jobs:,} stored jobs\n")
    print("\n".join(table(["", "requests", "seconds"], rows)))


def _passes(
    measure: Callable[[str, Callable[[], object]], object],
    jobs: JobService,
    maintenance: Maintenance,
    redis: RedisServer,
) -> None:
    measure("page of 20, Redis emptied", lambda: jobs.page(20, None))
    passes = 0
    while jobs._index.newest(1, None) is None:
        passes += 1
        measure(f"pass {passes} after Redis was emptied", maintenance.recover)
    measure("page of 20", lambda: jobs.page(20, None))
    measure("pass, every ten seconds", maintenance.recover)
    jobs._redis.client.delete("metseg:scanned")
    measure("pass, every ten minutes", maintenance.recover)
    with redis.down():
        measure("page of 20, without Redis", lambda: jobs.page(20, None))


def _expiry(measure: Measure, store: Store, maintenance: Maintenance) -> None:
    expiry.GRACE = timedelta(microseconds=1)
    maintenance.expire()  # learns the clock
    store.put(CLOCK, json.dumps({"jumped_at": (datetime.now(UTC) - 2 * QUIET).isoformat()}).encode())
    store.age = timedelta(days=JOB_DAYS + 1)
    measure(f"expiry, {EXPIRED} jobs are marked", maintenance.expire)
    erased = measure(f"expiry, {EXPIRED} jobs are deleted", maintenance.expire)
    assert erased == EXPIRED, erased


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[RedisServer, QuickS3]]:
    (folder / "s3").mkdir()
    s3 = QuickS3(folder / "s3", free_ports(8))
    with redis_server(folder) as redis:
        s3.start()
        try:
            yield redis, s3
        finally:
            s3.kill()


def _fill(s3: QuickS3, count: int) -> None:
    """Expired jobs, and others of the days since."""
    now = time.time() - 60
    ids = [_id(now - (JOB_DAYS - 0.1) * DAY_S * (1 - number / count)) for number in range(count)]
    expired = [_id(now - (JOB_DAYS + 0.9) * DAY_S + number) for number in range(EXPIRED)]
    keys = [f"jobs/{job_id}/request.json" for job_id in ids]
    keys += [f"jobs/{job_id}/{name}" for job_id in expired for name in OBJECTS]
    s3.fill(keys, b"x" * 400)


def _current(store: Store, jobs: JobService) -> None:
    """The newest jobs, some of which wait; the messages are lost."""
    for number in range(LISTED):
        request = _request(jobs, _id(time.time()))
        job = Job(id=request.id, status=JobStatus.QUEUED, created_at=request.created_at, files=1)
        if number < WAITING:
            store.put(f"open/{job.id}", job.model_dump_json().encode())
        else:
            ended = job.model_copy(update={"status": JobStatus.SUCCEEDED})
            store.put(f"jobs/{job.id}/end.json", json.dumps({"job": ended.model_dump(mode="json")}).encode())
        store.put(f"jobs/{job.id}/request.json", request.model_dump_json().encode())


def _request(jobs: JobService, job_id: str) -> Request:
    file = InputFile(key=jobs.input_key(job_id, 0), name="x.png", size_bytes=1, sha256="0" * 64)
    return Request(id=job_id, created_at=datetime.now(UTC) - timedelta(minutes=1), inputs=[file])


def _id(time_s: float) -> str:
    return f"{earliest_id(1000 * time_s)}{new_job_id()[12:]}"


if __name__ == "__main__":
    main()
