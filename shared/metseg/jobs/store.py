"""What the store holds of jobs: the truth, without anything of the queue.

    jobs/{id}/input/0000 ...   as uploaded
    jobs/{id}/request.json     as accepted
    jobs/{id}/job.json         its state until it ends
    jobs/{id}/results/TOKEN/   result.json and the artefacts of one attempt
    jobs/{id}/end.json         its last state, and which attempt's results count; written once, and never again

Two workers may come to an end of one job: each writes into a folder of its own, and the one whose `end.json` is there
first has ended the job. The store decides that (`ObjectStore.create`), so it holds whatever Redis has forgotten.

A job exists from the moment its request is written, after all that it needs, until its request is deleted, before
all the rest. Whoever writes into a job looks afterwards whether it still exists, and clears away what it wrote where
it does not: so nothing of a deleted job comes back, whatever the order in which two hands work on it.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import BinaryIO, cast

from pydantic import Field

from metseg.contracts import Contract, InputFile, Job, Request, Result
from metseg.errors import NotFound
from metseg.parallel import parallel_map
from metseg.storage import ObjectStore

__all__ = ["GLIMPSE", "Records", "results_folder"]

GLIMPSE = "glimpse.png"
ABANDONED = timedelta(days=1)
_ROOT = "jobs/"
_ID = re.compile(r"[0-9a-f]{32}")


class _End(Contract):
    """How a job ended."""

    job: Job
    results: str | None = Field(default=None, description="the folder of the results that count")


def results_folder(token: str) -> str:
    """Where an attempt writes its results, below its job."""
    return f"results/{token}"


class Records:
    """The jobs in a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def key(self, job_id: str, name: str) -> str:
        """Where one of a job's objects lies; NotFound for what is no id."""
        if not _ID.fullmatch(job_id):
            raise NotFound("There is no such job.")
        return f"{_ROOT}{job_id}/{name}"

    def job(self, job_id: str) -> Job:
        """A job's state; NotFound."""
        return self.ended(job_id)[0]

    def ended(self, job_id: str) -> tuple[Job, str]:
        """A job's state, and what the keys of its results begin with, or would; NotFound."""
        end = self._end(job_id)
        if end is None:
            return self._begun(job_id), self.key(job_id, "")
        return end.job, self.key(job_id, "" if end.results is None else f"{end.results}/")

    def _end(self, job_id: str) -> _End | None:
        """How a job ended; None where it has not, or before ends had a file of their own."""
        try:
            return _End.model_validate_json(self._read(job_id, "end.json"))
        except NotFound:
            return None

    def _begun(self, job_id: str) -> Job:
        """A job's last state before its end; NotFound."""
        return Job.model_validate_json(self._read(job_id, "job.json"))

    def opening(self, job_id: str) -> tuple[Job, Request]:
        """A job's state and what was asked for, read side by side; NotFound."""
        reads: list[Callable[[str], _End | Job | Request | None]] = [self._end, self._begun, self.request]
        end, job, request = parallel_map(lambda read: read(job_id), reads, len(reads))
        return cast(_End, end).job if end else cast(Job, job), cast(Request, request)

    def glimpse(self, job_id: str) -> bytes:
        """The picture of a running job's latest slice; NotFound."""
        return self._read(job_id, GLIMPSE)

    def request(self, job_id: str) -> Request:
        """What was asked for; NotFound."""
        return Request.model_validate_json(self._read(job_id, "request.json"))

    def _read(self, job_id: str, name: str) -> bytes:
        try:
            return self._store.get(self.key(job_id, name))
        except NotFound as error:
            raise NotFound(f"There is no job {job_id}, or not any more.") from error

    def exists(self, job_id: str) -> bool:
        """Whether the job was accepted and not deleted."""
        try:
            self._store.stat(self.key(job_id, "request.json"))
        except NotFound:
            return False
        return True

    def deposit(self, inputs: Iterable[InputFile], files: Iterable[BinaryIO]) -> None:
        """Write the inputs of a job to be; `accept` has to follow."""
        for told, file in zip(inputs, files, strict=True):
            file.seek(0)
            self._store.put(told.key, file, size=told.size_bytes)

    def open(self, job: Job) -> None:
        """Write the first state of a job to be; `accept` has to follow."""
        self._write(job.id, "job.json", job)

    def accept(self, request: Request) -> None:
        """Let a job exist: everything that it needs has been written."""
        self._write(request.id, "request.json", request)

    def update(self, job: Job) -> bool:
        """Write an open job's new state; False where the job has been deleted, and nothing of it is left."""
        self._write(job.id, "job.json", job)
        return self._still_exists(job.id)

    def put(self, job_id: str, name: str, content: bytes) -> None:
        """Write an artefact; `end` has to follow."""
        self._store.put(self.key(job_id, name), content)

    def put_result(self, result: Result, folder: str) -> None:
        """Write the answer of an attempt; `end` has to follow."""
        self._write(result.job_id, f"{folder}/result.json", result)

    def end(self, job: Job, results: str | None = None) -> bool:
        """Write a job's end, once for all; `tidy` has to follow.

        Args:
            job: its last state.
            results: the folder that this attempt wrote.

        Returns:
            Whether this is how it ended; False where it had ended before.
        """
        content = _End(job=job, results=results).model_dump_json().encode()
        return self._store.create(self.key(job.id, "end.json"), content, content_type="application/json")

    def tidy(self, job_id: str, unwanted: str | None) -> None:
        """Clear away all of a job that was deleted before its end, or the results of an attempt that do not count."""
        if self._still_exists(job_id) and unwanted is not None:
            self._store.delete(self.key(job_id, unwanted))

    def _still_exists(self, job_id: str) -> bool:
        if self.exists(job_id):
            return True
        self.erase(job_id)
        return False

    def _write(self, job_id: str, name: str, content: Contract) -> None:
        data = content.model_dump_json().encode()
        self._store.put(self.key(job_id, name), data, content_type="application/json")

    def erase(self, job_id: str) -> None:
        """Delete all of a job, its request first."""
        self._store.delete(self.key(job_id, "request.json"))
        self._store.delete(f"{_ROOT}{job_id}")

    def accepted(self) -> list[str]:
        """The ids of all jobs, oldest first."""
        return [info.key.split("/")[1] for info in self._store.list(_ROOT) if _is_request(info.key)]

    def expired(self, days: int) -> Iterator[str]:
        """The ids of jobs that nobody touched for so many days, and of uploads that were never accepted."""
        now = datetime.now(UTC)
        for job_id, infos in groupby(self._store.list(_ROOT), key=lambda info: info.key.split("/")[1]):
            objects = list(infos)
            kept = timedelta(days=days) if any(_is_request(info.key) for info in objects) else ABANDONED
            if max(info.modified for info in objects) < now - kept:
                yield job_id


def _is_request(key: str) -> bool:
    return key.count("/") == 2 and key.endswith("/request.json")
