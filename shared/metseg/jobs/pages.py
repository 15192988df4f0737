"""Many jobs at once, as a list shows them: state and summary from the store, place and progress from Redis."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TypeVar

from metseg.contracts import Job, JobPage, JobStatus, ListedJob, is_follow_up_id
from metseg.errors import NotFound, QueueUnavailable
from metseg.jobs.index import JobIndex, JobSnapshot
from metseg.jobs.listing import JobListing
from metseg.jobs.reviews import JobReviews
from metseg.jobs.store import JobStore
from metseg.parallel import parallel_map

__all__ = ["JobPages"]

MAX_CONCURRENT_READS = 20
"""As many as a page has jobs, unless a client asks for more."""

AnyJob = TypeVar("AnyJob", bound=Job)


class JobPages:
    """Lists of jobs.

    Args:
        listing: which jobs there are, where Redis does not know it.
        store: the jobs.
        index: of the jobs, in Redis.
        reviews: of the jobs.
    """

    def __init__(self, listing: JobListing, store: JobStore, index: JobIndex, reviews: JobReviews) -> None:
        self._listing = listing
        self._store = store
        self._index = index
        self._reviews = reviews

    def page(self, limit: int, cursor: str | None, owner: str | None) -> JobPage:
        """A page of jobs; see `JobService.page`.

        Args:
            limit: jobs on the page.
            cursor: `next` of the page before; None for the first page.
            owner: an owner's tag; None for all jobs.

        Returns:
            The page, newest first.
        """
        jobs: list[ListedJob] = []
        while len(jobs) <= limit and (ids := self._newest(limit + 1 - len(jobs), cursor, owner)):
            studies = [job_id for job_id in ids if not is_follow_up_id(job_id)]
            found = self.existing(studies)
            for job_id in {*studies} - {job.id for job in found}:  # expired
                self._index.remove(job_id)
            jobs += found
            cursor = ids[-1]
        return JobPage(jobs=jobs[:limit], next=jobs[limit - 1].id if len(jobs) > limit else None)

    def existing(self, job_ids: Iterable[str]) -> list[ListedJob]:
        """The jobs with these ids, in that order; those that do not exist are left out."""
        listed = parallel_map(self._listed, job_ids, MAX_CONCURRENT_READS)
        return self.with_snapshots([job for job in listed if job is not None])

    def with_snapshots(self, jobs: Sequence[AnyJob]) -> list[AnyJob]:
        """Jobs with what Redis knows of them. One that lost its worker and waits again is shown as queued."""
        open_ids = [job.id for job in jobs if not job.status.final]
        try:
            snapshots = dict(zip(open_ids, self._index.snapshots(open_ids), strict=True)) if open_ids else {}
        except QueueUnavailable:
            return list(jobs)
        return [_with(job, snapshots.get(job.id)) for job in jobs]

    def _listed(self, job_id: str) -> ListedJob | None:
        """A job with the summary of its result in the state in force; None where there is no such job."""
        try:
            job, results = self._store.job_and_results(job_id)
        except NotFound:
            return None
        if results is None and not self._store.exists(job_id):  # an upload, or what is left of a deleted job
            return None
        summary = None if results is None else self._reviews.reviewed(job_id, results).summary
        return ListedJob(**dict(job), summary=summary)

    def _newest(self, limit: int, before: str | None, owner: str | None) -> list[str]:
        """Ids of the newest jobs, from the store where Redis is down or is being rebuilt."""
        with suppress(QueueUnavailable):
            ids = self._index.newest(limit, before, owner)
            if ids is not None:
                return ids
        return self._listing.newest_ids(limit, before, owner)


def _with(job: AnyJob, snapshot: JobSnapshot | None) -> AnyJob:
    if snapshot is None:
        return job
    if snapshot.position and not snapshot.leased:
        return job.model_copy(update={"status": JobStatus.QUEUED, "queue_position": snapshot.position})
    return job.model_copy(update={"progress": snapshot.progress})
