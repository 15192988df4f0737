"""Jobs in the object store, which holds the truth about them; nothing of the queue is in it.

    jobs/{id}/input/0000 ...   as uploaded
    jobs/{id}/request.json     as accepted
    jobs/{id}/results/TOKEN    result.json and the artefacts of one attempt, see `metseg.jobs.artefacts`
    jobs/{id}/end.json         its last state, and which attempt's results count; written once
    jobs/{id}/reviews/000001   what readers changed, see `metseg.jobs.reviews`; written once each
    jobs/{id}/reviewed/TOKEN   result.json and the artefacts of one review
    open/{id}                  its state until it ends

Two workers may finish the same job. Each writes a separate object, and the first to write `end.json` has ended the job.
The store decides that (`ObjectStore.create`), so it holds whatever Redis has forgotten.

A job exists from the moment its request is written, which is after everything that it needs, until its request is
deleted, which is before all the rest. After each write into a job the writer checks that it still exists, and otherwise
deletes what it wrote. So nothing of a deleted job comes back, whatever the order in which two processes work on it.
Its state is written first and deleted last, so that what a crash leaves of a job that does not exist is found there.

A job whose state cannot be read is shown as failed. Nothing is written for that, so a release that can read it shows it
as it is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import BinaryIO, TypeVar, cast

from pydantic import Field, ValidationError

from metseg.contracts import Contract, InputFile, Job, JobStatus, Problem, Request, ResultSummary, is_job_id
from metseg.errors import NotFound, StoreUnavailable, UnreadableRecord
from metseg.jobs.artefacts import Artefact, ArtefactSet, Results, put_artefacts
from metseg.parallel import parallel_map
from metseg.storage import ObjectStore

__all__ = ["OPEN", "ROOT", "JobStore", "parse_record"]

Record = TypeVar("Record", bound=Contract)

PREVIEW = "glimpse.png"
ROOT = "jobs/"
OPEN = "open/"


class _End(Contract):
    """How a job ended."""

    job: Job
    results: str | None = Field(default=None, description="the object of the results that count, below the job")
    digests: dict[str, Artefact] = Field(default_factory=dict, description="the artefacts in it, by name")
    summary: ResultSummary | None = Field(default=None, description="of the result; None for a follow-up")


class JobStore:
    """The jobs in an object store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def key(self, job_id: str, name: str) -> str:
        """The key of one of a job's objects.

        Args:
            job_id: of the job.
            name: of the object, below the job.

        Returns:
            Its key in the store.

        Raises:
            NotFound: the id has not the form of an id.
        """
        if not is_job_id(job_id):
            raise NotFound("There is no such job.")
        return f"{ROOT}{job_id}/{name}"

    # Reading

    def job(self, job_id: str) -> Job:
        """A job's state; NotFound."""
        return self.job_and_results(job_id)[0]

    def job_and_results(self, job_id: str) -> tuple[Job, Results | None]:
        """A job's state, and its results if it has any; NotFound."""
        try:
            state = self._end(job_id) or self._state(job_id) or self._end(job_id)  # it may end between the reads
        except UnreadableRecord as error:
            return self._unreadable(job_id, error), None
        if state is None:
            raise self._unknown(job_id)
        if isinstance(state, Job):
            return state, None
        if state.results is None:
            return state.job, None
        return state.job, Results(ArtefactSet(self.key(job_id, state.results), state.digests), summary=state.summary)

    def job_and_request(self, job_id: str) -> tuple[Job, Request]:
        """A job's state and its request, read concurrently; NotFound, UnreadableRecord where the request is."""
        reads: list[Callable[[str], _End | Job | Request | None]] = [self._end, self._state, self.request]
        try:
            end, state, request = parallel_map(lambda read: read(job_id), reads, len(reads))
        except UnreadableRecord:
            return self.job(job_id), self.request(job_id)
        if end is None and state is None:  # it may have ended between the reads
            return self.job(job_id), cast(Request, request)
        return cast(_End, end).job if end else cast(Job, state), cast(Request, request)

    def request(self, job_id: str) -> Request:
        """What was asked for; NotFound, UnreadableRecord."""
        return parse_record(Request, self._read(job_id, "request.json"))

    def preview(self, job_id: str) -> bytes:
        """The preview of a running job, a PNG; NotFound."""
        return self._read(job_id, PREVIEW)

    def exists(self, job_id: str) -> bool:
        """Whether the job was accepted and not deleted."""
        try:
            self._store.stat(self.key(job_id, "request.json"))
        except NotFound:
            self._store.check()
            return False
        return True

    def _end(self, job_id: str) -> _End | None:
        """How a job ended; None where it has not; UnreadableRecord."""
        try:
            return parse_record(_End, self._read(job_id, "end.json"))
        except NotFound:
            return None

    def _state(self, job_id: str) -> Job | None:
        """A job's last state before its end; None where it has none; UnreadableRecord."""
        try:
            return parse_record(Job, self._store.get(self._state_key(job_id)))
        except NotFound:
            return None

    def _state_key(self, job_id: str) -> str:
        self.key(job_id, "")
        return f"{OPEN}{job_id}"

    def _unreadable(self, job_id: str, error: UnreadableRecord) -> Job:
        """A job of which only the objects are known, as a failed one; NotFound."""
        objects = list(self._store.list(self.key(job_id, "")))
        if not objects:
            raise NotFound(f"There is no job {job_id}, or it was deleted.")
        return Job(
            id=job_id,
            status=JobStatus.FAILED,
            created_at=min(info.modified for info in objects),
            files=max(1, sum("/input/" in info.key for info in objects)),
            problem=Problem.of(error),
        )

    def _read(self, job_id: str, name: str) -> bytes:
        try:
            return self._store.get(self.key(job_id, name))
        except NotFound as error:
            if name == "request.json":
                raise self._unknown(job_id) from error
            raise NotFound(f"There is no object {name} of job {job_id}.") from error

    def _unknown(self, job_id: str) -> NotFound:
        """The error where a job has neither state nor end; StoreUnavailable where another store is in the place."""
        self._store.check()  # an empty store in the place of this one knows no job either
        return NotFound(f"There is no job {job_id}, or it was deleted.")

    # Writing

    def put_inputs(self, inputs: Iterable[InputFile], files: Iterable[BinaryIO]) -> None:
        """Write the inputs of a job that is to be accepted by `put_request`.

        Args:
            inputs: what is known of each file.
            files: the same files, seekable; each is read before the next is asked for.

        Raises:
            UploadInterrupted: a file does not have its size.
        """
        for info, file in zip(inputs, files, strict=True):
            file.seek(0)
            self._store.put(info.key, file, size=info.size_bytes)

    def put_job(self, job: Job) -> None:
        """Write the first state of a job that is to be accepted by `put_request`."""
        self._write(self._state_key(job.id), job)

    def put_request(self, request: Request) -> None:
        """Let a job exist, after everything that it needs has been written."""
        self._write(self.key(request.id, "request.json"), request)

    def update_job(self, job: Job) -> bool:
        """Write the new state of a job that is not final; False where it was deleted, and nothing of it is left."""
        self._write(self._state_key(job.id), job)
        return self.still_exists(job.id)

    def put_preview(self, job_id: str, png: bytes) -> None:
        """Write the preview of a running job; nothing is left of it where the job was deleted or has ended.

        Args:
            job_id: of the job.
            png: the image.
        """
        self._store.put(self.key(job_id, PREVIEW), png)
        if self.still_exists(job_id) and self._has_ended(job_id):
            self._store.remove([self.key(job_id, PREVIEW)])

    def put_results(
        self, job_id: str, name: str, result: Contract, artefacts: Mapping[str, bytes]
    ) -> dict[str, Artefact]:
        """Write the result and the artefacts of an attempt or a review; `put_end` and `clean_up`, or a record, follow.

        Args:
            job_id: of the job.
            name: of the object, below the job.
            result: of the attempt.
            artefacts: by name.

        Returns:
            What was written, by name.
        """
        return put_artefacts(self._store, self.key(job_id, name), result, artefacts)

    def put_end(
        self,
        job: Job,
        results: str | None = None,
        artefacts: Mapping[str, Artefact] = MappingProxyType({}),
        summary: ResultSummary | None = None,
    ) -> bool:
        """Write how a job ended, unless it had ended before; `clean_up` must follow.

        Args:
            job: its last state.
            results: the object that this attempt wrote, below the job.
            artefacts: in it, by name.
            summary: of the result; None for a follow-up.

        Returns:
            Whether this is how it ended.
        """
        content = _End(job=job, results=results, digests=dict(artefacts), summary=summary).model_dump_json().encode()
        return self._store.create(self.key(job.id, "end.json"), content, content_type="application/json")

    def clean_up(self, job_id: str, unwanted: str | None) -> None:
        """Delete what must not stay after an end: all of a deleted job, or state, preview and `unwanted` results.

        Args:
            job_id: of the job.
            unwanted: the results of an attempt that do not count, below the job.
        """
        if not self.still_exists(job_id):
            return
        self._store.remove([self.key(job_id, PREVIEW), self._state_key(job_id)])
        if unwanted is not None:
            self._store.delete(self.key(job_id, unwanted))

    def close(self, job_id: str) -> None:
        """Delete the state of a job that has ended, which a crash may have left."""
        if self._has_ended(job_id):
            self._store.remove([self._state_key(job_id)])

    def withdraw(self, job_id: str) -> None:
        """End a job's existence; `delete` must follow."""
        self._store.delete(self.key(job_id, "request.json"))

    def delete(self, job_id: str) -> None:
        """Delete all of a job, its request first."""
        self.withdraw(job_id)
        with suppress(StoreUnavailable):  # a full disk takes no mark, but deletes
            self._store.put(self._state_key(job_id), b"deleted")  # what a crash leaves from here on is found by it
        self._store.delete(f"{ROOT}{job_id}")
        self._store.remove([self._state_key(job_id)])

    def erase(self, keys: Mapping[str, Sequence[str]]) -> None:
        """Delete jobs, their requests first.

        Args:
            keys: of all objects of each job, by its id.
        """
        self._store.remove([self.key(job_id, "request.json") for job_id in keys])
        states = [self._state_key(job_id) for job_id in keys]
        self._store.remove([*(key for each in keys.values() for key in each), *states])

    def still_exists(self, job_id: str) -> bool:
        """Whether a job exists; otherwise what was written of it meanwhile is deleted."""
        if self.exists(job_id):
            return True
        self.delete(job_id)
        return False

    def _has_ended(self, job_id: str) -> bool:
        try:
            self._store.stat(self.key(job_id, "end.json"))
        except NotFound:
            return False
        return True

    def _write(self, key: str, content: Contract) -> None:
        self._store.put(key, content.model_dump_json().encode(), content_type="application/json")


def parse_record(model: type[Record], content: bytes) -> Record:
    """A record of the store.

    Args:
        model: of the record.
        content: JSON.

    Returns:
        The record.

    Raises:
        UnreadableRecord: this release cannot read it.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        detail = "The job's record is damaged or of another release; delete the job, or run the release that wrote it."
        raise UnreadableRecord(detail) from error
