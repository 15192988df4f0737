"""What segments studies for the command line: a server, or this process (`metseg.cli.local`)."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple, Protocol

from typing_extensions import override

from metseg.cli.run_state import RunState
from metseg.client import Attachment, Client, RemoteProblem
from metseg.contracts import Job, JobStatus, Result
from metseg.errors import Cancelled, Conflict, MetsegError
from metseg.results.exports import Export

__all__ = ["Backend", "Interrupted", "OnProgress", "Segmented", "ServerBackend"]

OnProgress = Callable[[float], None]
"""Called with the share of a study that is done, from 0 to 1; raises `Interrupted` if the run should stop."""
POLL_S = 2.0
CONFLICT_PAUSE_S = 3.0
MAX_CONFLICTS = 30


class Interrupted(Exception):
    """The run should stop; it can be resumed."""


class Segmented(NamedTuple):
    """A result, and a function that writes an export of it to a path."""

    result: Result
    save: Callable[[Export, Path], None]


class Backend(Protocol):
    """Segments studies.

    Attributes:
        max_concurrency: how many studies it segments at a time.
    """

    max_concurrency: int

    def segment(
        self,
        attachments: Sequence[Attachment],
        state: RunState,
        save_state: Callable[[], None],
        on_progress: OnProgress,
    ) -> Segmented:
        """Segment one study.

        Args:
            attachments: its files.
            state: of its run; updated.
            save_state: writes the state; called before each step that must not be repeated.
            on_progress: called with the share that is done.

        Returns:
            The result.

        Raises:
            MetsegError: the study cannot be segmented.
        """


class ServerBackend(Backend):
    """Segments studies as jobs of a server.

    Args:
        client: of the server's gateway.
        max_concurrency: jobs at a time.
        stop: set if the run should stop.
    """

    def __init__(self, client: Client, max_concurrency: int, stop: threading.Event) -> None:
        self._client = client
        self._stop = stop
        self.max_concurrency = max_concurrency

    @override
    def segment(
        self,
        attachments: Sequence[Attachment],
        state: RunState,
        save_state: Callable[[], None],
        on_progress: OnProgress,
    ) -> Segmented:
        """Segment one study; see Backend. RemoteProblem or Cancelled where its job did not succeed."""
        job = self._earlier_job(state) or self._submit(attachments, state, save_state)

        def on_poll(job: Job) -> None:
            on_progress(job.progress.done / job.progress.total if job.progress else 0.0)

        job = self._client.wait(job.id, on_poll, POLL_S)
        if job.problem is not None:
            raise RemoteProblem(job.problem)
        if job.status is JobStatus.CANCELLED:
            raise Cancelled("The job was cancelled while it waited or ran; run the command again to resubmit it.")
        return Segmented(self._client.result(job.id), partial(self._client.save, job.id))

    def _earlier_job(self, state: RunState) -> Job | None:
        """The job that an earlier run submitted, unless it ended without a result."""
        if state.job_id is None:
            return None
        try:
            job = self._client.job(state.job_id)
        except RemoteProblem as problem:
            if problem.status != HTTPStatus.NOT_FOUND:
                raise
            return None  # expired or deleted
        return None if job.status in (JobStatus.FAILED, JobStatus.CANCELLED) else job

    def _submit(self, attachments: Sequence[Attachment], state: RunState, save_state: Callable[[], None]) -> Job:
        """Submit the study; a new attempt, with a new key, if the job of the key ended without a result."""
        if state.job_id is not None:
            state.attempt += 1
        while True:
            save_state()  # the next run must know the key before a server may have seen it
            job = self._submit_once(attachments, state)
            state.job_id = job.id
            save_state()
            if job.status not in (JobStatus.FAILED, JobStatus.CANCELLED):
                return job
            state.attempt += 1

    def _submit_once(self, attachments: Sequence[Attachment], state: RunState) -> Job:
        """Submit, and retry while the server still receives what an earlier run sent with the same key."""
        for _ in range(MAX_CONFLICTS):
            try:
                return self._client.submit(
                    attachments,
                    state.threshold,
                    state.model,
                    state.idempotency_key,
                    state.align,
                    deidentify=state.deidentify,
                    uncertainty=state.uncertainty,
                    sequence=state.sequence,
                    patient=state.patient,
                    taken_on=state.taken_on,
                )
            except RemoteProblem as problem:
                if problem.type != Conflict.type:
                    raise
            if self._stop.wait(CONFLICT_PAUSE_S):
                raise Interrupted
        raise MetsegError("The server is still receiving an earlier submission of this study; run the command again.")
