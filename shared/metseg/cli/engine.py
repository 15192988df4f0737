"""What segments a study for the command line: a server, or this process."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, Protocol

from metseg.cli.record import Record
from metseg.client import Attachment, Client, RemoteProblem
from metseg.contracts import Job, JobStatus, Result
from metseg.errors import Cancelled, MetsegError
from metseg.results.exports import Export

__all__ = ["Engine", "Finished", "Interrupted", "Remote", "Tell"]

Tell = Callable[[float], None]
"""Told the share of a study that is done; it raises `Interrupted` where the run shall end."""
TURN_S = 2.0
CONFLICT_PAUSE_S = 3.0
CONFLICTS = 30


class Interrupted(Exception):
    """The run shall end; nothing is lost."""


class Finished(NamedTuple):
    """A result, and how to write a file of it."""

    result: Result
    save: Callable[[Export, Path], None]


class Engine(Protocol):
    """Segments studies; several at a time where `parallel` says so."""

    @property
    def parallel(self) -> int:
        """How many studies it takes at a time."""

    def run(self, attachments: Sequence[Attachment], record: Record, keep: Callable[[], None], tell: Tell) -> Finished:
        """Segment one study.

        Args:
            attachments: its files.
            record: of it; changed as it goes on.
            keep: writes the record; called before what must not happen twice.
            tell: of progress.

        Raises:
            MetsegError: it cannot be segmented.
        """


class Remote:
    """A server's jobs.

    Args:
        client: of the gateway.
        parallel: jobs to have at a time.
        stop: set where the run shall end.
    """

    def __init__(self, client: Client, parallel: int, stop: threading.Event) -> None:
        self._client = client
        self._stop = stop
        self.parallel = parallel

    def run(self, attachments: Sequence[Attachment], record: Record, keep: Callable[[], None], tell: Tell) -> Finished:
        """As of Engine."""
        job = self._known(record) or self._submitted(attachments, record, keep)

        def progress(job: Job) -> None:
            tell(job.progress.done / job.progress.total if job.progress else 0.0)

        job = self._client.wait(job.id, progress, TURN_S)
        if job.problem is not None:
            raise RemoteProblem(job.problem)
        if job.status is JobStatus.CANCELLED:
            raise Cancelled("The job was cancelled while it waited or ran; run the command again to submit it anew.")

        return Finished(self._client.result(job.id), partial(self._client.save, job.id))

    def _known(self, record: Record) -> Job | None:
        """The job that an earlier run submitted, if it is still worth waiting for."""
        if record.job_id is None:
            return None
        try:
            job = self._client.job(record.job_id)
        except RemoteProblem as problem:
            if problem.status != HTTPStatus.NOT_FOUND:
                raise
            return None  # expired or deleted
        return None if job.status in (JobStatus.FAILED, JobStatus.CANCELLED) else job

    def _submitted(self, attachments: Sequence[Attachment], record: Record, keep: Callable[[], None]) -> Job:
        """A job for the study: one more attempt where the key's job has ended without a result."""
        if record.job_id is not None:
            record.attempt += 1
        while True:
            keep()  # the key must be known to the next run before a server may have seen it
            job = self._accepted(attachments, record)
            record.job_id = job.id
            keep()
            if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
                return job
            record.attempt += 1

    def _accepted(self, attachments: Sequence[Attachment], record: Record) -> Job:
        """Submit, with patience while the server still takes in what an earlier run sent under the same key."""
        for _ in range(CONFLICTS):
            try:
                return self._client.submit(
                    attachments,
                    record.threshold,
                    record.model,
                    record.key,
                    record.align,
                    deidentify=record.deidentify,
                    uncertainty=record.uncertainty,
                )
            except RemoteProblem as problem:
                if problem.type != "/problems/conflict":
                    raise
            if self._stop.wait(CONFLICT_PAUSE_S):
                raise Interrupted
        raise MetsegError("The server still takes in an earlier submission of this study; run the command again.")
