"""The reviews of jobs in the object store.

    jobs/{id}/reviews/000001   a review, or a return to the model's own answer; written once
    jobs/{id}/reviewed/TOKEN   result.json and the artefacts that a review replaces

The newest of the numbered records is in force. Its number is not reused: of two readers who replace the same review,
the first to create the next record has done so (`ObjectStore.create`), and the other is refused. A review's files are
written before its record, so that a record never refers to what is not there.
"""

import uuid
from collections.abc import Mapping

from pydantic import Field

from metseg.contracts import Contract, Result, ResultSummary, ReviewHistory, ReviewRecord
from metseg.errors import NotFound, ReviewedMeanwhile
from metseg.jobs.artefacts import Artefact, ArtefactSet, Results
from metseg.jobs.store import JobStore, parse_record
from metseg.parallel import parallel_map
from metseg.storage import ObjectStore

__all__ = ["MEANWHILE", "JobReviews"]

MAX_REVIEWS = 999_999
MEANWHILE = "Someone else has reviewed this job meanwhile; read their review before you replace it."
MAX_CONCURRENT_READS = 4


class _StoredReview(Contract):
    """A record, and where the files of its review are."""

    record: ReviewRecord
    folder: str | None = Field(
        default=None, description="the object of its files, below the job; None: the model's own answer is in force"
    )
    digests: dict[str, Artefact] = Field(default_factory=dict, description="the artefacts in it, by name")
    summary: ResultSummary | None = Field(default=None, description="of its result")


class JobReviews:
    """The reviews of all jobs.

    Args:
        objects: the object store.
        jobs: the jobs in it.
    """

    def __init__(self, objects: ObjectStore, jobs: JobStore) -> None:
        self._objects = objects
        self._jobs = jobs

    def in_force(self, job_id: str) -> ReviewRecord | None:
        """The newest review of a job; None where it was never reviewed."""
        stored = self._newest(job_id)
        return None if stored is None else stored.record

    def record(self, job_id: str, number: int) -> ReviewRecord:
        """One review of a job.

        Args:
            job_id: of the job.
            number: of the review, from 1.

        Returns:
            The review.

        Raises:
            NotFound: the job has no such review.
        """
        try:
            return self._read(self._jobs.key(job_id, _name(number))).record
        except NotFound as error:
            raise NotFound(f"The job has no review {number}.") from error

    def history(self, job_id: str) -> ReviewHistory:
        """All reviews of a job, newest first."""
        keys = list(reversed(self._keys(job_id)))
        return ReviewHistory(reviews=[each.record for each in parallel_map(self._read, keys, MAX_CONCURRENT_READS)])

    def reviewed(self, job_id: str, own: Results) -> Results:
        """The results of a job in its reviewed state.

        Args:
            job_id: of the job.
            own: the model's own results.

        Returns:
            Where the artefacts are; the model's own where no review is in force.
        """
        stored = self._newest(job_id)
        if stored is None or stored.folder is None:
            return own
        reviewed = ArtefactSet(self._jobs.key(job_id, stored.folder), stored.digests)
        return Results(own.own, stored.record.number, reviewed, stored.summary)

    def add(self, job_id: str, record: ReviewRecord, result: Result | None, artefacts: Mapping[str, bytes]) -> None:
        """Store a review, which is then in force.

        Args:
            job_id: of the job.
            record: with the number after the newest one.
            result: that the review replaces; None for a return to the model's own answer.
            artefacts: that the review replaces, by name.

        Raises:
            ReviewedMeanwhile: there is a review of this number; nothing is left of this one.
            NotFound: the job was deleted meanwhile.
        """
        stored = _StoredReview(record=record)
        if result is not None:
            name = f"reviewed/{uuid.uuid4().hex}"
            written = self._jobs.put_results(job_id, name, result, artefacts)
            stored = _StoredReview(record=record, folder=name, digests=written, summary=result.summary)
        created = self._objects.create(
            self._jobs.key(job_id, _name(record.number)),
            stored.model_dump_json().encode(),
            content_type="application/json",
        )
        if not self._jobs.still_exists(job_id):
            raise NotFound("There is no such job.")
        if not created:
            if stored.folder is not None:
                self._objects.delete(self._jobs.key(job_id, stored.folder))
            raise ReviewedMeanwhile(MEANWHILE)

    def _newest(self, job_id: str) -> _StoredReview | None:
        keys = self._keys(job_id)
        return self._read(keys[-1]) if keys else None

    def _keys(self, job_id: str) -> list[str]:
        return [info.key for info in self._objects.list(self._jobs.key(job_id, "reviews/"))]

    def _read(self, key: str) -> _StoredReview:
        return parse_record(_StoredReview, self._objects.get(key))


def _name(number: int) -> str:
    if not 0 < number <= MAX_REVIEWS:
        raise NotFound(f"The job has no review {number}.")
    return f"reviews/{number:06d}"
