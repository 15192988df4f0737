"""Makes Redis and the store agree, whatever Redis has lost, and deletes expired jobs."""

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import partial

from metseg.contracts import JobStatus, Problem
from metseg.errors import NotFound, QueueUnavailable, StoreUnavailable, UnreadableRecord
from metseg.jobs.broker import JobQueue
from metseg.jobs.expiry import StoreClock, Tombstones, max_batch
from metseg.jobs.idempotency import IdempotencyKeys
from metseg.jobs.index import JobIndex
from metseg.jobs.lease import LeaseTable
from metseg.jobs.metrics import JobMetrics
from metseg.jobs.redis_connection import RedisConnection
from metseg.jobs.store import JobStore
from metseg.storage import ObjectStore

__all__ = ["Maintenance"]

SCAN_EVERY_S = 600
LOCK_TTL_S = 60

log = logging.getLogger(__name__)


class Maintenance:
    """The work of a worker for all jobs.

    Args:
        objects: the object store.
        redis: the index and the leases are in it.
        leases: of all workers.
        queue: for jobs that have to be queued again.
        job_days: days after which a job expires.
    """

    def __init__(
        self, objects: ObjectStore, redis: RedisConnection, leases: LeaseTable, queue: JobQueue, job_days: int
    ) -> None:
        self._objects = objects
        self._store = JobStore(objects)
        self._redis = redis
        self._index = JobIndex(redis)
        self._metrics = JobMetrics(redis)
        self._keys = IdempotencyKeys(objects, redis, self._store.exists)
        self._clock = StoreClock(objects)
        self._tombstones = Tombstones(objects)
        self._leases = leases
        self._queue = queue
        self._job_days = job_days

    def recover(self) -> int:
        """Queue again what was accepted but is neither queued, leased by a worker that is alive, nor final.

        It is cheap, and harmless to call often: one process at a time looks at the jobs that are open, and every ten
        minutes, or when Redis has forgotten them, at the whole store.

        Returns:
            How many jobs were queued again.

        Raises:
            Unavailable: the store or Redis does not answer.
        """
        with self._redis.lock("recover", LOCK_TTL_S) as acquired:
            return self._recover() if acquired else 0

    def expire(self) -> int:
        """Delete jobs older than the settings allow, and uploads of more than a day that never became a job.

        A job is first marked, and deleted by a later call; see `metseg.jobs.expiry` for when and how many.

        Returns:
            How many were deleted.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        self._objects.check()
        clock = self._clock.read()
        expired, total = self._store.expired_ids(self._job_days, clock.now)
        if not clock.steady:
            if clock.jumped:
                self._tombstones.clear()
            self._refuse(len(expired))
            return 0
        self._refuse(len(expired) - max_batch(total))
        due = self._tombstones.due(expired, total, clock.now)
        deleted = sum(self._handled(job_id, self._erase) for job_id in due)
        self._keys.expire(clock.now)
        return deleted

    def _refuse(self, jobs: int) -> None:
        if jobs > 0:
            log.error("expired jobs are kept, since the clock is in doubt or they are too many", extra={"jobs": jobs})
            self._metrics.record_refused_expiry(jobs)

    def _erase(self, job_id: str) -> bool:
        self._store.delete(job_id)
        self._index.remove(job_id)
        self._tombstones.remove(job_id)
        return True

    def _recover(self) -> int:
        open_ids = self._index.open_ids()
        if open_ids is None:
            self._objects.check()
            ids = self._store.ids()
            self._index.rebuild(ids)
        else:
            ids = open_ids
        queued = self._index.queued_ids()
        recovered = sum(self._handled(job_id, partial(self._recover_one, queued=queued)) for job_id in ids)
        if open_ids is None:
            self._index.mark_scanned(SCAN_EVERY_S)
        if recovered:
            self._metrics.record_recovery(recovered)
        return recovered

    def _handled(self, job_id: str, step: Callable[[str], bool]) -> bool:
        """Do one step for one job, whose defects do not affect the other jobs; Unavailable."""
        try:
            return step(job_id)
        except QueueUnavailable:
            raise
        except StoreUnavailable:
            self._objects.check()
            log.error("job %s is left out, its objects cannot be read", job_id)
        except Exception as error:  # noqa: BLE001 (one job must not stop the maintenance of all)
            log.error("job %s is left out", job_id, extra={"error": type(error).__name__})
        return False

    def _recover_one(self, job_id: str, queued: Collection[str]) -> bool:
        """Queue a job again if it is lost."""
        if not self._is_lost(job_id, queued):
            return False
        try:
            request = self._store.request(job_id)
        except NotFound:  # deleted, or lost: without its request a job does not exist
            self._index.remove(job_id)
            return False
        except UnreadableRecord as error:
            self._fail(job_id, error)
            return False
        log.warning("job %s was lost and is queued again", job_id)
        self._index.enqueue(job_id, request.slices)
        self._queue.publish(request)
        return True

    def _fail(self, job_id: str, error: UnreadableRecord) -> None:
        """End a job that no worker can begin."""
        log.error("the request of job %s cannot be read", job_id)
        changes = {"status": JobStatus.FAILED, "finished_at": datetime.now(UTC), "problem": Problem.of(error)}
        if self._store.put_end(self._store.job(job_id).model_copy(update=changes)):
            self._metrics.record_failure(error.type)
        self._index.mark_finished(job_id)
        self._store.clean_up(job_id, None)

    def _is_lost(self, job_id: str, queued: Collection[str]) -> bool:
        try:
            job = self._store.job(job_id)
        except NotFound:
            self._index.remove(job_id)
            return False
        if job.status.final:
            self._index.mark_finished(job_id)
            return False
        self._index.mark_open(job_id, job.slices)
        age = abs(datetime.now(UTC) - job.created_at)  # a clock may be wrong, either way
        on_its_way = job.attempts == 0 and age < timedelta(seconds=self._leases.ttl_s)
        return not (on_its_way or job_id in queued or self._index.snapshot(job_id).leased)
