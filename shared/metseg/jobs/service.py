"""The gateway's side of jobs: accept them, show them, delete them."""

import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import BinaryIO

from metseg.contracts import Job, JobPage, JobStatus, ListedJob, Request, Result
from metseg.errors import (
    NotFinished,
    ProcessingFailed,
    QueueUnavailable,
    StoreUnavailable,
    Unavailable,
    UnreadableRecord,
)
from metseg.jobs.agreements import JobAgreements
from metseg.jobs.artefacts import RESULT, Results, read_artefact
from metseg.jobs.broker import JobQueue
from metseg.jobs.idempotency import IdempotencyKeys
from metseg.jobs.index import JobIndex, QueueLoad, QueueStatus
from metseg.jobs.lease import LeaseTable
from metseg.jobs.listing import JobListing
from metseg.jobs.metrics import JobMetrics, MetricsSnapshot
from metseg.jobs.pages import JobPages
from metseg.jobs.rate_limit import RateLimiter
from metseg.jobs.redis_connection import RedisConnection
from metseg.jobs.reviews import JobReviews
from metseg.jobs.site_secret import SiteSecret
from metseg.jobs.store import JobStore, parse_record
from metseg.jobs.training_studies import TrainingStudies
from metseg.jobs.workers import WorkerRegistry
from metseg.parallel import run_all
from metseg.storage import ObjectPart, ObjectStore

__all__ = ["JobService"]

RECHECK_EVERY_S = 5.0


class JobService:
    """All jobs of a deployment, as a gateway sees them.

    Args:
        objects: the object store.
        redis: the index and the leases are in it.
        leases: of all workers.
        queue: for accepted jobs.

    Attributes:
        reviews: of the jobs.
        agreements: of readers and models.
        training: copies of reviewed studies, for the trainer.
        patients: makes pseudonyms of patients.
    """

    def __init__(self, objects: ObjectStore, redis: RedisConnection, leases: LeaseTable, queue: JobQueue) -> None:
        self._objects = objects
        self._redis = redis
        self._leases = leases
        self._queue = queue
        self._store = JobStore(objects)
        self.reviews = JobReviews(objects, self._store)
        self.agreements = JobAgreements(redis)
        self.training = TrainingStudies(objects)
        self.patients = SiteSecret(objects, "site/patient-key")
        self._index = JobIndex(redis)
        self._pages = JobPages(JobListing(objects, self._store), self._store, self._index, self.reviews)
        self._keys = IdempotencyKeys(objects, redis, self._store.exists)
        self._rates = RateLimiter(redis)
        self._workers = WorkerRegistry(redis)
        self._metrics = JobMetrics(redis)

    # Submitting

    def input_key(self, job_id: str, index: int) -> str:
        """The key in the store of a job's input.

        Args:
            job_id: of the job.
            index: of the file, from 0.

        Returns:
            The key.
        """
        return self._store.key(job_id, f"input/{index:04d}")

    def deposit(self, request: Request, files: Iterable[BinaryIO]) -> None:
        """Write the prerequisites of a job's acceptance: its inputs and its first state.

        Args:
            request: as it will be submitted.
            files: its inputs in order, seekable; each is read before the next is asked for.

        Raises:
            UploadInterrupted: a file is not as long as announced.
            StoreUnavailable: it could not be written. In both cases the caller must discard what was written.
        """
        writes = [partial(self._store.put_inputs, request.inputs, files), partial(self._store.put_job, _new(request))]
        run_all(writes, len(writes))

    def submit(self, request: Request) -> Job:
        """Accept a job that has been deposited: write its request and queue it.

        Raises:
            StoreUnavailable: it could not be written.
            QueueUnavailable: it could not be queued. In both cases nothing of it is left.
        """
        job = _new(request)
        try:
            self._redis.check()  # before the job exists
            self._store.put_request(request)
            self._index.enqueue(job.id, job.slices)
            self._queue.publish(request)
        except Unavailable:
            with suppress(StoreUnavailable):
                self.discard(job.id, request.key_sha256)
            raise
        return self._with_snapshot(job)

    def discard(self, job_id: str, key_sha256: str | None = None) -> None:
        """Delete an upload that was not accepted, and release its Idempotency-Key.

        Args:
            job_id: of the job that it was to become.
            key_sha256: the hashed Idempotency-Key, if it came with one.
        """
        self._store.delete(job_id)
        self._index.remove(job_id)
        if key_sha256 is not None:
            self._keys.release(key_sha256, job_id)

    def acquire_key(self, key_sha256: str, body_sha256: str, job_id: str) -> str:
        """Let a job hold an Idempotency-Key for a day; see `IdempotencyKeys.acquire`.

        Args:
            key_sha256: the hashed key.
            body_sha256: of the submission that came with it.
            job_id: of the job that the submission is to become.

        Returns:
            The id of the job that holds it: `job_id`, or a job that was submitted before.

        Raises:
            IdempotencyConflict: that job had another body.
            Conflict: the submission that holds the key is not accepted yet.
            Unavailable: the store or Redis does not answer.
        """
        return self._keys.acquire(key_sha256, body_sha256, job_id)

    def key_holder(self, key_sha256: str, body_sha256: str | None = None) -> str | None:
        """The accepted job that holds an Idempotency-Key, without waiting; see `IdempotencyKeys.holder`.

        Args:
            key_sha256: the hashed key.
            body_sha256: of the submission that came with it; None where it has not been received.

        Returns:
            The id of the job; None where no job holds it.

        Raises:
            IdempotencyConflict: that job had another body.
            StoreUnavailable: the store does not answer.
        """
        return self._keys.holder(key_sha256, body_sha256)

    # One job

    def get(self, job_id: str) -> Job:
        """A job as it is now; NotFound."""
        return self._with_snapshot(self._store.job(job_id))

    def get_unless_open(self, job_id: str) -> Job | None:
        """A job as it is now; None where Redis knows that it waits or runs, so that the store need not be asked."""
        with suppress(QueueUnavailable):
            if self._index.is_open(job_id):
                return None
        return self.get(job_id)

    def wait(self, job_id: str, timeout_s: float) -> Job:
        """Wait until a job is final.

        Args:
            job_id: of the job.
            timeout_s: seconds after which the job is returned as it is.

        Returns:
            The job.

        Raises:
            NotFound: there is no such job, or it is deleted meanwhile.
        """
        if timeout_s <= 0:
            return self.get(job_id)
        deadline = time.monotonic() + timeout_s
        with self._index.subscribe(job_id) as sleep:
            if (job := self.get_unless_open(job_id)) is not None and job.status.final:
                return job
            sleep(min(timeout_s, RECHECK_EVERY_S))
            while True:
                job = self.get(job_id)
                left_s = deadline - time.monotonic()
                if job.status.final or left_s <= 0:
                    return job
                sleep(min(left_s, RECHECK_EVERY_S))  # a notification may be lost

    def request(self, job_id: str) -> Request:
        """What was asked for; NotFound."""
        return self._store.request(job_id)

    def preview(self, job_id: str) -> bytes:
        """A PNG of the latest slice of a job that runs; NotFound where it has none (yet).

        It is drawn because it is asked for, so the first call of a client finds none.
        """
        with suppress(QueueUnavailable):
            self._index.watch(job_id)
        return self._store.preview(job_id)

    def result(self, job_id: str, *, reviewed: bool = True) -> Result:
        """The result of a job.

        Args:
            job_id: of the job.
            reviewed: False returns the model's own answer.

        Returns:
            The result.

        Raises:
            NotFound: there is no such job.
            NotFinished: it has not succeeded, or not yet.
            UnreadableRecord: its result cannot be read by this release.
        """
        return self.read_result(self.results(job_id, reviewed=reviewed))

    def read_result(self, results: Results) -> Result:
        """The figures of certain results; UnreadableRecord where this release cannot read them."""
        return parse_record(Result, read_artefact(self._objects, results, RESULT))

    def results(self, job_id: str, *, reviewed: bool = True) -> Results:
        """Where a job's artefacts are in the store, and what they must be.

        Args:
            job_id: of the job.
            reviewed: False returns the model's own answer.

        Returns:
            The results.

        Raises:
            NotFound: there is no such job.
            NotFinished: it has not succeeded, or not yet.
        """
        job, results = self._store.job_and_results(job_id)
        if results is None:
            status = self._with_snapshot(job).status
            raise NotFinished(f"The job is {status}, so it has no results{'' if status.final else ' yet'}.")
        return self.reviews.reviewed(job_id, results) if reviewed else results

    def stat(self, results: Results, name: str) -> tuple[ObjectPart, str]:
        """Where in the store an artefact is.

        Args:
            results: that it belongs to.
            name: of the artefact.

        Returns:
            Its part of an object, of known size, and its entity tag.

        Raises:
            NotFound: there is no such artefact.
            ProcessingFailed: it is not as long as it was when it was written.
        """
        part, artefact = results.part(name), results.artefact(name)
        info = self._objects.stat(part.key)
        stored = info.size - part.first
        size = stored if part.size is None else min(stored, part.size)
        if artefact is not None and artefact.size != size:
            raise ProcessingFailed.damaged_result()
        return part._replace(size=size), f"{info.etag}-{name}"

    def delete(self, job_id: str) -> None:
        """Cancel a job if it waits or runs, and delete all of it; NotFound, StoreUnavailable.

        The copy of its study for training is deleted in any case, also where the job has expired.
        """
        self.training.delete(job_id)
        key_sha256 = None
        with suppress(UnreadableRecord):
            key_sha256 = self._store.request(job_id).key_sha256
        self._store.withdraw(job_id)  # first: where the store refuses that, the job continues
        with suppress(QueueUnavailable):  # a worker will then notice when it ends the job
            self._leases.cancel(job_id)
        self.discard(job_id, key_sha256)

    # All jobs

    def page(self, limit: int, cursor: str | None, owner: str | None = None) -> JobPage:
        """A page of jobs, newest first.

        Args:
            limit: jobs on the page.
            cursor: `next` of the page before; None for the first page.
            owner: an owner's tag; None for all jobs.

        Returns:
            The page.
        """
        return self._pages.page(limit, cursor, owner)

    def existing(self, job_ids: Iterable[str]) -> list[ListedJob]:
        """The jobs with these ids, in that order; those that do not exist are left out."""
        return self._pages.existing(job_ids)

    def admit(self, owner: str, max_per_minute: int) -> float:
        """Count one more submission, unless its owner has made too many; QueueUnavailable.

        Args:
            owner: an owner's tag.
            max_per_minute: submissions in any 60 seconds.

        Returns:
            0 where it was counted, else the seconds until the next one can be.
        """
        return self._rates.admit(owner, max_per_minute)

    def queue_load(self, owner: str) -> QueueLoad:
        """How many jobs wait, and how many places those of an owner's tag that wait or run take; QueueUnavailable."""
        return self._index.queue_load(owner)

    def queue_status(self) -> QueueStatus:
        """How many jobs wait, for how long, and how many workers work on; QueueUnavailable."""
        return self._index.queue_status()

    def metrics(self) -> MetricsSnapshot:
        """What happened to jobs since Redis was last emptied; QueueUnavailable."""
        return self._metrics.read()

    def worker_count(self) -> int:
        """How many workers sent a heartbeat within a minute; QueueUnavailable."""
        return self._workers.count()

    def worker_memory_bytes(self) -> int | None:
        """Memory of the smallest live worker; None if none is known; QueueUnavailable."""
        return self._workers.memory_bytes()

    def check(self) -> None:
        """Check that jobs can be queued; QueueUnavailable."""
        self._redis.check()

    def _with_snapshot(self, job: Job) -> Job:
        return self._pages.with_snapshots([job])[0]


def _new(request: Request) -> Job:
    return Job(
        id=request.id,
        status=JobStatus.QUEUED,
        created_at=request.created_at,
        files=len(request.inputs),
        slices=request.slices,
        label=request.label,
        patient=request.patient,
        taken_on=request.taken_on,
    )
