"""The parts of the job system that each service uses, opened from the settings."""

from contextlib import ExitStack
from typing import Self

from metseg.jobs.broker import JobQueue, celery_app, max_attempt_s
from metseg.jobs.index import JobIndex
from metseg.jobs.lease import LeaseTable
from metseg.jobs.maintenance import Maintenance
from metseg.jobs.metrics import JobMetrics
from metseg.jobs.redis_connection import RedisConnection
from metseg.jobs.runner import JobRunner
from metseg.jobs.service import JobService
from metseg.jobs.store import JobStore
from metseg.jobs.workers import WorkerRegistry
from metseg.settings import Settings
from metseg.storage import ObjectStore

__all__ = ["JobFactory"]

LEASE_TTL_S = 15.0


class JobFactory:
    """Makes the parts of the job system for one process; they share a connection to Redis and one to the broker.

    A gateway takes `service`, a worker `runner`, `maintenance` and `workers`: so a gateway cannot lease a job, and a
    worker cannot accept one. Nothing is contacted until a part is used.

    Args:
        settings: of the deployment.
        store: where jobs are.
        lease_ttl_s: seconds without renewal after which a worker counts as dead.
    """

    def __init__(self, settings: Settings, store: ObjectStore, lease_ttl_s: float = LEASE_TTL_S) -> None:
        self._settings = settings
        self._store = store
        self._redis = RedisConnection.open(settings)
        self._celery = celery_app(settings)
        self._queue = JobQueue(self._celery, settings.job_time_limit_s)
        self._leases = LeaseTable(self._redis, ttl_s=lease_ttl_s, cancel_ttl_s=max_attempt_s(settings))

    def service(self) -> JobService:
        """The gateway's side."""
        return JobService(self._store, self._redis, self._leases, self._queue)

    def runner(self) -> JobRunner:
        """The side of a worker's child."""
        index, metrics = JobIndex(self._redis), JobMetrics(self._redis)
        return JobRunner(JobStore(self._store), index, self._leases, metrics, max_attempt_s(self._settings))

    def maintenance(self) -> Maintenance:
        """The side of a worker's main process."""
        return Maintenance(self._store, self._redis, self._leases, self._queue, self._settings.job_days)

    def workers(self) -> WorkerRegistry:
        """Which workers are alive."""
        return WorkerRegistry(self._redis)

    def close(self) -> None:
        """Close the connections."""
        with ExitStack() as stack:
            stack.callback(self._redis.close)
            stack.callback(self._celery.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
