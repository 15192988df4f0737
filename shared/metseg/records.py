"""What the store holds of jobs: the truth, without anything of the queue.

    jobs/{id}/input/0000 ...   as uploaded
    jobs/{id}/request.json     as accepted
    jobs/{id}/job.json         its state
    jobs/{id}/result.json      and the artefacts beside it, written before the state says `succeeded`

A job exists from the moment its request is written, after all that it needs, until its request is deleted, before
all the rest. Whoever writes into a job looks afterwards whether it still exists, and clears away what it wrote where
it does not: so nothing of a deleted job comes back, whatever the order in which two hands work on it.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby

from metseg.contracts import Contract, Job, Request, Result
from metseg.errors import NotFound
from metseg.objects import ObjectStore

__all__ = ["Records"]

ABANDONED = timedelta(days=1)
_ROOT = "jobs/"
_ID = re.compile(r"[0-9a-f]{32}")


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
        return Job.model_validate_json(self._read(job_id, "job.json"))

    def request(self, job_id: str) -> Request:
        """What was asked for; NotFound."""
        return Request.model_validate_json(self._read(job_id, "request.json"))

    def result(self, job_id: str) -> Result:
        """The answer; NotFound."""
        return Result.model_validate_json(self._read(job_id, "result.json"))

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

    def accept(self, job: Job, request: Request) -> None:
        """Write a new job."""
        self._write(job.id, "job.json", job)
        self._write(job.id, "request.json", request)

    def update(self, job: Job) -> bool:
        """Write a job's new state; False where the job has been deleted, and nothing of it is left."""
        self._write(job.id, "job.json", job)
        if self.exists(job.id):
            return True
        self.erase(job.id)
        return False

    def put(self, job_id: str, name: str, content: bytes) -> None:
        """Write an artefact; `update` has to follow."""
        self._store.put(self.key(job_id, name), content)

    def put_result(self, result: Result) -> None:
        """Write the answer; `update` has to follow."""
        self._write(result.job_id, "result.json", result)

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
