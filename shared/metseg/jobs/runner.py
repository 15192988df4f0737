"""A worker's side of jobs: claim one, tell how far it is, and end it once."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from functools import partial

from metseg.contracts import Job, JobStatus, Problem, Progress, Request, Result
from metseg.errors import Cancelled, NotFound, PoisonedInput, QueueUnavailable, StoreUnavailable
from metseg.jobs.index import Live
from metseg.jobs.lease import Claim, take
from metseg.jobs.metrics import Figures
from metseg.jobs.store import GLIMPSE, Records, results_folder
from metseg.parallel import in_background, run_all

__all__ = ["ATTEMPTS", "Attempts"]

ATTEMPTS = 3
PATIENCE_S = 60.0
PAUSE_S = 1.0
PUTS_AT_ONCE = 4
"""More of them wait for the store's disk, not for the way there."""

log = logging.getLogger(__name__)


class Attempts:
    """The attempts of one worker.

    Args:
        records: the jobs in the store.
        live: what Redis knows of them.
        longest_s: longer than any attempt may take.
    """

    def __init__(self, records: Records, live: Live, longest_s: float) -> None:
        self._records = records
        self._live = live
        self._longest_s = longest_s
        self._figures = Figures(live)
        self._claims: dict[str, Claim] = {}
        self._begun: dict[str, Job] = {}

    def claim(self, job_id: str, known: Callable[[Request], None] = lambda _: None) -> Request | None:
        """Begin a job. From here on until `finish`, `fail` or `release` it is this worker's.

        Args:
            job_id: of the job.
            known: told what is to be done before it is written down that it begins, so that what it needs can be
                fetched meanwhile. Nothing of that is to be read before this returns: an attempt that it ends has to be
                counted.

        Returns:
            What is to be done; None where nothing is: the job is final, deleted, or in another living worker's hands.

        Raises:
            Unavailable: the store or Redis is away; `recover` will bring the job back.
        """
        claim = take(self._live, job_id, self._longest_s)
        if claim is None:
            return None
        self._claims[job_id] = claim
        with ExitStack() as stack:
            stack.callback(self.release, job_id)
            request = self._begin(job_id, known)
            if request is not None:
                stack.pop_all()
        return request

    def advance(self, job_id: str, done: int, total: int) -> None:
        """Tell how far a claimed job is.

        Raises:
            Cancelled: stop, the job is deleted or another worker's; nothing more is to be told.
        """
        claim = self._claims.get(job_id)
        if claim is None or not claim.held(Progress(done=done, total=total)):
            self.release(job_id)
            raise Cancelled("The job was cancelled or taken over.")

    def show_glimpse(self, job_id: str, picture: bytes) -> None:
        """Keep a picture of a running job's slices so far; nothing of a job that is deleted meanwhile."""
        self._records.put(job_id, GLIMPSE, picture)
        if not self._records.exists(job_id):
            self._records.erase(job_id)

    def finish(self, job_id: str, result: Result, artefacts: Mapping[str, bytes]) -> None:
        """Write a claimed job's result, whole and once; nothing where the job is no longer ours, ended or deleted."""

        def write(record: Job) -> None:
            folder = results_folder(uuid.uuid4().hex)
            writes = [partial(self._records.put_result, result, folder)]
            writes += [
                partial(self._records.put, job_id, f"{folder}/{name}", content) for name, content in artefacts.items()
            ]
            run_all(writes, PUTS_AT_ONCE)
            if self._close(record, JobStatus.SUCCEEDED, folder, model_version=result.model_version):
                self._figures.succeeded(result.model_version, result.durations_s)

        self._end(job_id, write)

    def fail(self, job_id: str, problem: Problem) -> None:
        """End a claimed job for a reason; nothing where the job is no longer ours, ended or deleted."""
        self._end(job_id, lambda record: self._fail(record, problem))

    def release(self, job_id: str) -> None:
        """Give up a claimed job without an end; `recover` brings it back, as often as a job may be attempted."""
        claim = self._claims.pop(job_id, None)
        self._begun.pop(job_id, None)
        if claim is not None:
            claim.give_up()

    def give_back(self, job_id: str, sleep: Callable[[float], None] = time.sleep) -> None:
        """Give up a claimed job because what it needs is away: that attempt does not count.

        The store is waited for to write that down, since without it no other job could go on either.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (claim := self._claims.get(job_id)) is not None and claim.held():
            try:
                job = self._records.job(job_id)
                if not job.status.final:
                    self._records.update(job.model_copy(update={"attempts": max(job.attempts - 1, 0)}))
                break
            except NotFound:
                break
            except StoreUnavailable:
                if time.monotonic() > deadline:
                    log.warning("job %s keeps an attempt that was none of its fault", job_id)
                    break
                sleep(PAUSE_S)
        self.release(job_id)

    def _begin(self, job_id: str, known: Callable[[Request], None]) -> Request | None:
        """Mark a job that we hold as running; None where there is nothing to do, which is put in order."""
        try:
            job, request = self._records.opening(job_id)
        except NotFound:
            self._live.forget(job_id)
            return None
        if job.status.final:
            with suppress(QueueUnavailable):
                self._live.close(job_id)
        elif job.attempts >= ATTEMPTS:
            log.error("job %s ended its worker %d times", job_id, job.attempts)
            self._fail(job, _exhausted())
        else:
            known(request)
            running = _running(job)
            with in_background(lambda _: self._announce(job)):
                alive = self._records.update(running)
            if alive:
                self._begun[job_id] = running
                return request
        return None

    def _announce(self, job: Job) -> None:
        """Tell Redis that an attempt at a job begins."""
        if job.attempts == 0:
            self._figures.began((datetime.now(UTC) - job.created_at).total_seconds())
        with suppress(QueueUnavailable):
            self._live.start(job.id)

    def _end(self, job_id: str, write: Callable[[Job], None]) -> None:
        """Let `write` end a job that is ours; the claim ends with it. The store decides whether it had ended before."""
        claim = self._claims.get(job_id)
        try:
            if claim is None or not claim.held():
                log.info("job %s is not ours to end", job_id)
                return
            write(self._begun[job_id])
        finally:
            self.release(job_id)

    def _fail(self, job: Job, problem: Problem) -> None:
        if self._close(job, JobStatus.FAILED, problem=problem):
            self._figures.failed(problem.type)

    def _close(self, job: Job, status: JobStatus, results: str | None = None, **changes: object) -> bool:
        """Write how a job ended; False where it had ended before."""
        end = job.model_copy(update={"status": status, "finished_at": datetime.now(UTC), **changes})
        ours = self._records.end(end, results)
        if not ours:
            log.warning("job %s had ended before; this end is left out", job.id)
        with suppress(QueueUnavailable):
            self._live.close(job.id)
        self._records.tidy(job.id, None if ours else results)
        return ours


def _running(job: Job) -> Job:
    return job.model_copy(
        update={"status": JobStatus.RUNNING, "started_at": datetime.now(UTC), "attempts": job.attempts + 1}
    )


def _exhausted() -> Problem:
    detail = f"The job ended its worker, or outlived it, {ATTEMPTS} times; it is not tried again."
    return Problem.of(PoisonedInput(detail))
