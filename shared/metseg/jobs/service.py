"""The life of a job: submit, claim, progress, finish, fail, cancel, recover, expire.

The store is the truth (`jobs.store`), Redis only speeds things up (`jobs.index`), and a message in the queue may
come twice, late, or for nothing. A job's state is written by whoever accepts it, then by whoever holds its claim.
"""

import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import BinaryIO

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from metseg.contracts import Job, JobPage, JobStatus, Request, Result
from metseg.errors import (
    NotFinished,
    NotFound,
    QueueUnavailable,
    StoreUnavailable,
    Unavailable,
)
from metseg.jobs.broker import QUEUE, TASK, TIME_TO_FAIL_S, broker, soft_limit_s
from metseg.jobs.idempotency import Keys
from metseg.jobs.index import Crowd, Line, Live
from metseg.jobs.maintenance import Reconciler
from metseg.jobs.metrics import Counted
from metseg.jobs.runner import ATTEMPTS, Attempts
from metseg.jobs.store import Records
from metseg.parallel import run_all
from metseg.settings import Settings
from metseg.storage import ObjectStore

__all__ = ["ATTEMPTS", "QUEUE", "TASK", "Jobs", "broker"]

CLAIM_TTL_S = 15.0
RECHECK_S = 5.0
SILENT_S = 60.0


class Jobs(Attempts):
    """All jobs of a deployment, for its gateway and its workers.

    Args:
        store: where jobs lie.
        client: of the settings' Redis, with socket time-outs.
        celery: as `broker` makes it.
        settings: of the deployment.
        claim_ttl_s: after which silence a worker counts as dead.
    """

    def __init__(
        self,
        store: ObjectStore,
        client: "redis.Redis",
        celery: Celery,
        settings: Settings,
        claim_ttl_s: float = CLAIM_TTL_S,
    ) -> None:
        longest_s = settings.job_time_limit_s + 2 * TIME_TO_FAIL_S
        live = Live(client, claim_ttl_s=claim_ttl_s, cancel_ttl_s=longest_s)
        super().__init__(Records(store), live, longest_s)
        self._store = store
        self._celery = celery
        self._longest_limit_s = settings.job_time_limit_s
        self._days = settings.job_days
        self._keys = Keys(store, self._live, self._records.exists)
        self._reconciler = Reconciler(self._records, self._live, self._publish)

    def input_key(self, job_id: str, index: int) -> str:
        """Where a job's input lies in the store."""
        return self._records.key(job_id, f"input/{index:04d}")

    def results(self, job_id: str) -> str:
        """What the keys of a job's artefacts begin with in the store.

        Raises:
            NotFound: there is no such job.
            NotFinished: it has not succeeded, or not yet.
        """
        job, prefix = self._records.ended(job_id)
        if job.status is not JobStatus.SUCCEEDED:
            status = self._seen(job).status
            raise NotFinished(f"The job is {status}, so it has no results{'' if status.final else ' yet'}.")
        return prefix

    def artefact_key(self, job_id: str, name: str) -> str:
        """Where an artefact of a job that succeeded lies in the store; raises as `results`."""
        return f"{self.results(job_id)}{name}"

    def deposit(self, request: Request, files: Iterable[BinaryIO]) -> None:
        """Write what a job needs before it can be accepted: its inputs, and beside them its first state.

        Args:
            request: as it will be submitted.
            files: its inputs in order, seekable; each is read before the next is asked for.

        Raises:
            UploadInterrupted: a file is not as long as told.
            StoreUnavailable: it could not be written. In both cases what was written is for the caller to discard.
        """
        writes = [partial(self._records.deposit, request.inputs, files), partial(self._records.open, _queued(request))]
        run_all(writes, len(writes))

    def submit(self, request: Request) -> Job:
        """Accept a job that has been deposited: write down its request and queue it.

        Raises:
            StoreUnavailable: it could not be written.
            QueueUnavailable: it could not be queued. In both cases nothing of it is left behind.
        """
        job = _queued(request)
        try:
            self._live.check()  # before the job exists
            self._records.accept(request)
            self._live.enter(job.id)
            self._publish(request)
        except Unavailable:
            with suppress(StoreUnavailable):
                self.discard(job.id, request.key_sha256)
            raise
        return self._seen(job)

    def discard(self, job_id: str, key_sha256: str | None = None) -> None:
        """Remove an upload that was not accepted, and let go the hashed Idempotency-Key that it came with."""
        self._records.erase(job_id)
        self._reconciler.forget(job_id)
        if key_sha256 is not None:
            self._keys.free(key_sha256, job_id)

    def get(self, job_id: str) -> Job:
        """A job as it is now; NotFound."""
        return self._seen(self._records.job(job_id))

    def unless_open(self, job_id: str) -> Job | None:
        """A job as it is now; None where Redis knows that it waits or runs: the store has nothing new to tell then."""
        with suppress(QueueUnavailable):
            if self._live.is_open(job_id):
                return None
        return self.get(job_id)

    def wait(self, job_id: str, timeout_s: float) -> Job:
        """A job once it is final, or as it is after a while; NotFound also when it is deleted meanwhile."""
        if timeout_s <= 0:
            return self.get(job_id)
        deadline = time.monotonic() + timeout_s
        with self._live.bell(job_id) as sleep:
            if (job := self.unless_open(job_id)) is not None and job.status.final:
                return job
            sleep(min(timeout_s, RECHECK_S))
            while True:
                job = self.get(job_id)
                left_s = deadline - time.monotonic()
                if job.status.final or left_s <= 0:
                    return job
                sleep(min(left_s, RECHECK_S))  # a wake-up may be lost

    def page(self, limit: int, cursor: str | None, owner: str | None = None) -> JobPage:
        """Jobs, newest first, of one owner's tag or of all; `cursor` is the `next` of the page before."""
        jobs: list[Job] = []
        while len(jobs) <= limit and (ids := self._reconciler.newest(limit + 1 - len(jobs), cursor, owner)):
            for job_id in ids:
                try:
                    jobs.append(self.get(job_id))
                except NotFound:  # expired
                    self._reconciler.forget(job_id)
            cursor = ids[-1]
        return JobPage(jobs=jobs[:limit], next=jobs[limit - 1].id if len(jobs) > limit else None)

    def glimpse(self, job_id: str) -> bytes:
        """A picture of the latest slice of a job that runs; NotFound where it has none (yet)."""
        return self._records.glimpse(job_id)

    def request(self, job_id: str) -> Request:
        """What was asked for; NotFound."""
        return self._records.request(job_id)

    def result(self, job_id: str) -> Result:
        """The answer.

        Raises:
            NotFound: there is no such job.
            NotFinished: it has not succeeded, or not yet.
        """
        return Result.model_validate_json(self._store.get(self.artefact_key(job_id, "result.json")))

    def delete(self, job_id: str) -> None:
        """Cancel a job if it waits or runs, and delete all of it; NotFound."""
        request = self._records.request(job_id)
        with suppress(QueueUnavailable):  # a worker then notices when it finishes
            self._live.cancel(job_id)
        self.discard(job_id, request.key_sha256)

    def idempotent(self, key_sha256: str, body_sha256: str, job_id: str) -> str:
        """The id of the job that holds a hashed Idempotency-Key for a day: `job_id` where the key is new.

        Raises:
            IdempotencyConflict: it was used with another body.
            Conflict: the submission that holds it is still being taken in.
            Unavailable: the store or Redis does not answer.
        """
        return self._keys.holder(key_sha256, body_sha256, job_id)

    def admit(self, owner: str, most: int, window_s: float = 60.0) -> float:
        """Count a submission of an owner's tag; how long it has to wait where that is too many; QueueUnavailable."""
        return self._live.admit(owner, most, window_s)

    def crowd(self, owner: str) -> Crowd:
        """How many jobs wait, and how many of an owner's tag wait or run; QueueUnavailable."""
        return self._live.crowd(owner)

    def line(self) -> Line:
        """How many jobs wait, how long, and how many are worked on; QueueUnavailable."""
        return self._live.line()

    def counted(self) -> Counted:
        """What happened to jobs since Redis was last emptied; QueueUnavailable."""
        return self._figures.read()

    def present(self, worker: str) -> None:
        """A worker gives a sign of life; QueueUnavailable."""
        self._live.present(worker)

    def answer(self, worker: str) -> None:
        """A worker's child answers its canary; QueueUnavailable."""
        self._live.answer(worker)

    def answers(self, worker: str) -> bool:
        """Whether a worker's canary was answered within the last 45 seconds; QueueUnavailable."""
        return self._live.answers(worker)

    def workers(self) -> int:
        """How many workers gave a sign of life within a minute; QueueUnavailable."""
        return self._live.workers(SILENT_S)

    def check(self) -> None:
        """See whether jobs can be queued; QueueUnavailable."""
        self._live.check()

    def recover(self) -> int:
        """Queue again what was accepted but is neither queued, in a living worker's hands, nor final.

        Cheap, and harmless to call often: one caller at a time looks at the jobs that are open, and every ten minutes,
        or when Redis has forgotten them, at the whole store.

        Returns:
            How many jobs were queued again.
        """
        return self._reconciler.recover()

    def expire(self) -> int:
        """Delete jobs older than the settings allow, and uploads of more than a day that never became one.

        A bucket's lifecycle rule does this in time; a folder has none.
        """
        expired = list(self._records.expired(self._days))
        for job_id in expired:
            self.discard(job_id)
        self._keys.expire()
        return len(expired)

    def _seen(self, job: Job) -> Job:
        """A job with what Redis knows of it. One that lost its worker and waits again is shown as waiting."""
        if job.status.final:
            return job
        try:
            sighting = self._live.sight(job.id)
        except QueueUnavailable:
            return job
        if sighting.position and not sighting.claimed:
            return job.model_copy(update={"status": JobStatus.QUEUED, "queue_position": sighting.position})
        return job.model_copy(update={"progress": sighting.progress})

    def soft_limit_s(self, request: Request) -> int:
        """How many seconds a job may run; a minute later it is killed."""
        return soft_limit_s(sum(file.size_bytes for file in request.inputs), self._longest_limit_s)

    def _publish(self, request: Request) -> None:
        soft_s = self.soft_limit_s(request)
        limits = {"soft_time_limit": soft_s, "time_limit": soft_s + TIME_TO_FAIL_S}
        try:
            self._celery.send_task(TASK, args=[request.id], task_id=request.id, queue=QUEUE, **limits)
        except (OperationalError, RedisError) as error:
            raise QueueUnavailable("The queue does not answer; try again later.") from error


def _queued(request: Request) -> Job:
    return Job(id=request.id, status=JobStatus.QUEUED, created_at=request.created_at, files=len(request.inputs))
