"""Makes Redis and the store agree, whatever Redis has lost, and deletes expired jobs."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice

from metseg.contracts import Job, JobStatus, Problem
from metseg.errors import NotFound, QueueUnavailable, StoreUnavailable, UnreadableRecord
from metseg.jobs.broker import JobQueue
from metseg.jobs.expiry import StoreClock, Tombstones, max_batch
from metseg.jobs.idempotency import IdempotencyKeys
from metseg.jobs.ids import earliest_id
from metseg.jobs.index import IndexCoverage, JobIndex
from metseg.jobs.lease import LeaseTable
from metseg.jobs.listing import JobListing
from metseg.jobs.metrics import JobMetrics
from metseg.jobs.redis_connection import RedisConnection
from metseg.jobs.store import JobStore
from metseg.storage import ObjectStore

__all__ = ["Maintenance"]

SCAN_EVERY_S = 600
RECENT_S = 3600
"""A Redis that crashed has lost what was written in its last second; the jobs of this time are added again."""
LOCK_TTL_S = 60
"""Far longer than what is done between two renewals."""
INDEXED_AT_ONCE = 1000
MAX_INDEXED = 35 * INDEXED_AT_ONCE
"""Jobs that one pass adds to an index that was lost."""
ERASED_AT_ONCE = 20

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
        self._listing = JobListing(objects, self._store)
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

        It is cheap, and harmless to call often: one process at a time looks at the jobs that Redis knows as open, and
        every ten minutes, or when Redis has forgotten them, at those that the store has as open.

        Returns:
            How many jobs were queued again.

        Raises:
            Unavailable: the store or Redis does not answer.
        """
        with self._redis.lock("recover", LOCK_TTL_S) as renew:
            return 0 if renew is None else self._recover(renew)

    def expire(self) -> int:
        """Delete jobs older than the settings allow, and uploads of more than a day that never became a job.

        A job is first marked, and deleted by a later call; see `metseg.jobs.expiry` for when and how many. One process
        at a time does it.

        Returns:
            How many were deleted.

        Raises:
            Unavailable: the store or Redis does not answer.
        """
        with self._redis.lock("expire", LOCK_TTL_S) as renew:
            return 0 if renew is None else self._expire(renew)

    def _expire(self, renew: Callable[[], None]) -> int:
        self._objects.check()
        clock = self._clock.read()
        expired = self._listing.expired(self._job_days, clock.now, renew)
        if not clock.steady:
            if clock.jumped:
                self._tombstones.clear()
            self._refuse(len(expired))
            return 0
        batch = max_batch(self._index.count())
        self._refuse(len(expired) - batch)
        due = self._tombstones.due([*expired][:batch], clock.now)
        erased = 0
        for first in range(0, len(due), ERASED_AT_ONCE):
            renew()
            erased += self._erase({job_id: expired[job_id] for job_id in due[first : first + ERASED_AT_ONCE]})
        self._keys.expire(clock.now)
        return erased

    def _refuse(self, jobs: int) -> None:
        if jobs > 0:
            log.error("expired jobs are kept, since the clock is in doubt or they are too many", extra={"jobs": jobs})
            self._metrics.record_refused_expiry(jobs)

    def _erase(self, keys: Mapping[str, Sequence[str]]) -> int:
        """Erase some jobs, one by one if that fails; returns how many were erased."""
        if not self._handled(", ".join(keys), partial(self._erase_all, keys)):
            each = ({job_id: names} for job_id, names in keys.items()) if len(keys) > 1 else ()
            return sum(map(self._erase, each))
        return len(keys)

    def _erase_all(self, keys: Mapping[str, Sequence[str]]) -> bool:
        self._store.erase(keys)
        for job_id in keys:
            self._index.remove(job_id)
        return True

    def _recover(self, renew: Callable[[], None]) -> int:
        known = self._index.coverage()
        in_doubt = self._index.unattended(known.open_ids)
        if not known.scanned:
            self._objects.check()
            in_doubt = sorted({*in_doubt, *known.open_ids.symmetric_difference(self._listing.open_ids())})
        recovered = 0
        for job_id in in_doubt:
            renew()
            recovered += self._handled(job_id, partial(self._recover_one, job_id))
        if recovered:
            self._metrics.record_recovery(recovered)
        if not (known.scanned and known.complete):
            self._complete_index(known, renew)
        return recovered

    def _complete_index(self, known: IndexCoverage, renew: Callable[[], None]) -> None:
        """Add jobs that Redis has lost: the newest to an index that is complete, as many as a pass may to another."""
        rebuilt_to = None if known.complete else known.rebuilt_to
        after = earliest_id(1000 * (time.time() - RECENT_S)) if rebuilt_to is None else rebuilt_to
        found, count = islice(self._listing.ids(after), MAX_INDEXED), 0
        while True:
            renew()
            batch = list(islice(found, INDEXED_AT_ONCE))
            if not self._index.add(batch, rebuilt_to):
                return
            count += len(batch)
            if len(batch) < INDEXED_AT_ONCE:
                break
            rebuilt_to = rebuilt_to if rebuilt_to is None else batch[-1]
        if rebuilt_to is not None and count < MAX_INDEXED:
            self._index.mark_complete()
        self._index.mark_scanned(SCAN_EVERY_S)

    def _handled(self, job_id: str, step: Callable[[], bool]) -> bool:
        """Do one step for one job, whose defects do not affect the other jobs; Unavailable."""
        try:
            return step()
        except QueueUnavailable:
            raise
        except StoreUnavailable:
            self._objects.check()
            log.error("job %s is left out, its objects cannot be read", job_id)
        except Exception as error:  # noqa: BLE001 (one job must not stop the maintenance of all)
            log.error("job %s is left out", job_id, extra={"error": type(error).__name__})
        return False

    def _recover_one(self, job_id: str) -> bool:
        """Queue a job again if it is lost; correct what Redis knows of it otherwise."""
        was_open = self._index.is_open(job_id)
        try:
            job, request = self._store.job_and_request(job_id)
        except NotFound:
            if was_open:  # without its request a job does not exist; else it may be an upload
                self._index.remove(job_id)
            return False
        except UnreadableRecord as error:
            self._fail(self._store.job(job_id), error)
            return False
        if job.status.final:
            self._close(job)
            return False
        self._index.mark_open(job_id, job.slices)
        age = abs(datetime.now(UTC) - job.created_at)  # a clock may be wrong, either way
        on_its_way = job.attempts == 0 and age < timedelta(seconds=self._leases.ttl_s)
        if on_its_way or not self._index.unattended([job_id]):
            return False
        log.warning("job %s was lost and is queued again", job_id)
        self._index.enqueue(job_id, request.slices)
        self._queue.publish(request)
        return True

    def _close(self, job: Job) -> None:
        """Let Redis and the store know that a job has ended, where a crash kept the one that ended it from that."""
        self._index.mark_finished(job.id)
        self._store.close(job.id)

    def _fail(self, job: Job, error: UnreadableRecord) -> None:
        """End a job that no worker can begin."""
        if job.status.final:
            self._close(job)
            return
        log.error("the request of job %s cannot be read", job.id)
        changes = {"status": JobStatus.FAILED, "finished_at": datetime.now(UTC), "problem": Problem.of(error)}
        if self._store.put_end(job.model_copy(update=changes)):
            self._metrics.record_failure(error.type)
        self._index.mark_finished(job.id)
        self._store.clean_up(job.id, None)
