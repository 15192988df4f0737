"""The worker's side of jobs: lease a job, start it, report its progress, and end it once."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from metseg.contracts import FollowUpResult, Job, JobStatus, Problem, Progress, Request, Result, ResultSummary
from metseg.errors import Cancelled, NotFound, PoisonedInput, QueueUnavailable, StoreUnavailable, UnreadableRecord
from metseg.jobs.artefacts import Artefact
from metseg.jobs.index import JobIndex
from metseg.jobs.lease import Lease, LeaseTable
from metseg.jobs.metrics import JobMetrics
from metseg.jobs.store import JobStore
from metseg.parallel import in_background

__all__ = ["MAX_ATTEMPTS", "JobRunner"]

MAX_ATTEMPTS = 3
STORE_WAIT_S = 60.0
RETRY_EVERY_S = 1.0

log = logging.getLogger(__name__)


@dataclass
class _Attempt:
    """An attempt at a job by this worker; `job` is its last state that was written."""

    lease: Lease
    job: Job | None = None
    started: bool = False


class JobRunner:
    """The attempts of one worker.

    Args:
        store: the jobs in the store.
        index: the jobs in Redis.
        leases: of all workers.
        metrics: of the deployment.
        max_attempt_s: seconds that are longer than any attempt can take.
    """

    def __init__(
        self, store: JobStore, index: JobIndex, leases: LeaseTable, metrics: JobMetrics, max_attempt_s: float
    ) -> None:
        self._store = store
        self._index = index
        self._leases = leases
        self._metrics = metrics
        self._max_attempt_s = max_attempt_s
        self._attempts: dict[str, _Attempt] = {}

    def lease(self, job_id: str) -> Request | None:
        """Lease a job. From here on until `finish`, `fail`, `release` or `give_back` it is this worker's.

        The inputs can be fetched now, but neither they nor the model may be read before `start`: an attempt that
        crashes the worker has to be counted.

        Returns:
            The request; None if there is nothing to do: the job is final, deleted, or leased by another worker.

        Raises:
            Unavailable: the store or Redis does not answer; `Maintenance.recover` will queue the job again.
        """
        lease = self._leases.acquire(job_id, self._max_attempt_s)
        if lease is None:
            return None
        self._attempts[job_id] = _Attempt(lease)
        with ExitStack() as stack:
            stack.callback(self.release, job_id)
            request = self._request(job_id)
            if request is not None:
                stack.pop_all()
        return request

    def start(self, job_id: str) -> bool:
        """Record that the attempt at a leased job begins.

        Returns:
            False where the job was deleted meanwhile; the lease has been released then.

        Raises:
            Unavailable: the store does not answer; the lease has been released.
        """
        attempt = self._attempts[job_id]
        job = _of(attempt)
        running = job.model_copy(
            update={"status": JobStatus.RUNNING, "started_at": datetime.now(UTC), "attempts": job.attempts + 1}
        )
        with ExitStack() as stack:
            stack.callback(self.release, job_id)
            with in_background(lambda _: self._announce(job)):
                exists = self._store.update_job(running)
            if exists:
                attempt.job, attempt.started = running, True
                stack.pop_all()
        return exists

    def report_progress(self, job_id: str, done: int, total: int) -> None:
        """Record how far a started job is.

        Args:
            job_id: of the job.
            done: slices that are done.
            total: slices of the study.

        Raises:
            Cancelled: the job was deleted or is another worker's now; the work on it has to stop.
        """
        attempt = self._attempts.get(job_id)
        if attempt is None or not attempt.lease.renew(Progress(done=done, total=total)):
            self.release(job_id)
            raise Cancelled("The job was cancelled or taken over.")

    def put_preview(self, job_id: str, draw: Callable[[], bytes]) -> None:
        """Store an image of a running job's slices so far, if somebody looks at them.

        Nothing is left of it where the job was deleted.

        Args:
            job_id: of the job.
            draw: makes the image, a PNG.
        """
        with suppress(QueueUnavailable):
            if self._index.is_watched(job_id):
                self._store.put_preview(job_id, draw())

    def finish(self, job_id: str, result: Result | FollowUpResult, artefacts: Mapping[str, bytes]) -> None:
        """Write the result of a started job, whole and once.

        Nothing is written where the job was deleted, has ended, or is another worker's now.

        Args:
            job_id: of the job.
            result: of the attempt.
            artefacts: by name.
        """

        def write(job: Job) -> None:
            name = f"results/{uuid.uuid4().hex}"
            written = self._store.put_results(job_id, name, result, artefacts)
            model, summary = (result.model_version, result.summary) if isinstance(result, Result) else (None, None)
            if self._end(job, JobStatus.SUCCEEDED, name, written, summary, model_version=model):
                self._metrics.record_success(model, result.durations_s)

        self._end_ours(job_id, write)

    def fail(self, job_id: str, problem: Problem) -> None:
        """End a started job with a problem.

        Nothing is written where the job was deleted, has ended, or is another worker's now.

        Args:
            job_id: of the job.
            problem: shown to its clients.
        """
        self._end_ours(job_id, lambda job: self._fail(job, problem))

    def release(self, job_id: str) -> None:
        """Release a job without an end; `Maintenance.recover` queues it again, unless it was attempted too often."""
        attempt = self._attempts.pop(job_id, None)
        if attempt is not None:
            attempt.lease.release()

    def give_back(self, job_id: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """Release a job because something that it needs is unavailable: this attempt does not count.

        To record that, the store is waited for; without it no other job could continue either.

        Args:
            job_id: of the job.
            sleep: pauses for some seconds.
        """
        deadline = time.monotonic() + STORE_WAIT_S
        while (attempt := self._attempts.get(job_id)) is not None and attempt.started and attempt.lease.renew():
            try:
                job = self._store.job(job_id)
                if not job.status.final:
                    self._store.update_job(job.model_copy(update={"attempts": max(job.attempts - 1, 0)}))
                break
            except NotFound:
                break
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    log.warning("the attempt at job %s counts, since the store is unavailable", job_id)
                    break
                sleep(RETRY_EVERY_S)
        self.release(job_id)

    def _request(self, job_id: str) -> Request | None:
        """What is asked for in a leased job; None where nothing is to be done, after correcting what is out of date."""
        try:
            job, request = self._store.job_and_request(job_id)
        except NotFound:
            self._index.remove(job_id)
            return None
        except UnreadableRecord as error:
            log.error("the request of job %s cannot be read", job_id)
            self._fail(self._store.job(job_id), Problem.of(error))
            return None
        if job.status.final:
            with suppress(QueueUnavailable):
                self._index.mark_finished(job_id)
        elif job.attempts >= MAX_ATTEMPTS:
            log.error("job %s ended its worker %d times", job_id, job.attempts)
            self._fail(job, _poisoned())
        else:
            self._attempts[job_id].job = job
            return request
        return None

    def _announce(self, job: Job) -> None:
        """Let Redis know that an attempt at a job begins."""
        if job.attempts == 0:
            self._metrics.record_start((datetime.now(UTC) - job.created_at).total_seconds())
        with suppress(QueueUnavailable):
            self._index.mark_started(job.id)

    def _end_ours(self, job_id: str, write: Callable[[Job], None]) -> None:
        """Let `write` end a job if this worker still has its lease, and release it."""
        attempt = self._attempts.get(job_id)
        try:
            if attempt is None or not attempt.lease.renew():
                log.info("job %s is not ours to end", job_id)
                return
            write(_of(attempt))
        finally:
            self.release(job_id)

    def _fail(self, job: Job, problem: Problem) -> None:
        if self._end(job, JobStatus.FAILED, problem=problem):
            self._metrics.record_failure(problem.type)

    def _end(
        self,
        job: Job,
        status: JobStatus,
        results: str | None = None,
        artefacts: Mapping[str, Artefact] = MappingProxyType({}),
        summary: ResultSummary | None = None,
        **changes: object,
    ) -> bool:
        """Write how a job ended; False where it had ended before."""
        last = job.model_copy(update={"status": status, "finished_at": datetime.now(UTC), **changes})
        ours = self._store.put_end(last, results, artefacts, summary)
        if not ours:
            log.warning("job %s had ended before; this end is dropped", job.id)
        with suppress(QueueUnavailable):
            self._index.mark_finished(job.id)
        self._store.clean_up(job.id, None if ours else results)
        return ours


def _of(attempt: _Attempt) -> Job:
    if attempt.job is None:
        raise ValueError("the job was not leased (a bug of the caller)")
    return attempt.job


def _poisoned() -> Problem:
    detail = f"The job ended its worker, or outlived it, {MAX_ATTEMPTS} times; it is not tried again."
    return Problem.of(PoisonedInput(detail))
