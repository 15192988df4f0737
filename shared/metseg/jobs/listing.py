"""Which jobs there are, as the object store lists them: a thousand from one request, and never all for one question.

Ids sort by time. So the oldest jobs are the first folders below `jobs/`, and those of any span of time can be listed
alone; what has not ended has its state below `open/`.
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import groupby, islice, takewhile

from metseg.contracts import is_job_id
from metseg.errors import StoreUnavailable
from metseg.jobs.ids import created_ms, earliest_id, owner_of
from metseg.jobs.store import OPEN, ROOT, JobStore
from metseg.storage import ObjectInfo, ObjectStore

__all__ = ["JobListing"]

MAX_LISTED = 50_000
"""Objects that one search for expired jobs looks at."""
MAX_LISTS = 32
"""Requests for one page of jobs without Redis."""
LISTED_AT_ONCE = 1000
FIRST_SPAN_MS = 600_000
SPAN_GROWTH = 8
AFTER_ALL_IDS = "~"
ABANDONED = timedelta(days=1)


class JobListing:
    """The jobs in an object store.

    Args:
        objects: the object store.
        jobs: the jobs in it.
    """

    def __init__(self, objects: ObjectStore, jobs: JobStore) -> None:
        self._objects = objects
        self._jobs = jobs

    def ids(self, after: str = "") -> Iterator[str]:
        """The ids of jobs and uploads, oldest first, a thousand from one request to the store.

        Args:
            after: an id, or what `earliest_id` returns; only ids that sort after it.

        Returns:
            The ids; a few of jobs that were deleted may be among them.
        """
        return filter(is_job_id, self._objects.folders(ROOT, after=after))

    def open_ids(self) -> list[str]:
        """The ids of the jobs that have not ended, and of uploads, oldest first."""
        return [_open_id(info) for info in self._open()]

    def newest_ids(self, limit: int, before: str | None, owner: str | None) -> list[str]:
        """Ids of the newest jobs and uploads, found by listing ever longer spans of time.

        Args:
            limit: how many at most.
            before: an id that all of them are older than.
            owner: an owner's tag; None for all jobs.

        Returns:
            The ids, newest first.

        Raises:
            StoreUnavailable: that many cannot be found by `MAX_LISTS` requests; so few are this owner's.
        """
        found: list[str] = []
        end = before or AFTER_ALL_IDS
        end_ms, span_ms = created_ms(before) if before else time.time() * 1000, FIRST_SPAN_MS
        for _ in range(MAX_LISTS):
            start = earliest_id(end_ms - span_ms)
            ids = list(islice(takewhile(lambda job_id: job_id < end, self.ids(start)), LISTED_AT_ONCE))  # noqa: B023
            if len(ids) == LISTED_AT_ONCE and span_ms > 1:
                span_ms //= SPAN_GROWTH
                continue
            found += [job_id for job_id in reversed(ids) if owner in {None, owner_of(job_id)}]
            if len(found) >= limit or end_ms <= span_ms:
                return found[:limit]
            end, end_ms, span_ms = start, end_ms - span_ms, span_ms * SPAN_GROWTH
        raise StoreUnavailable("The list of jobs cannot be read without the queue; try again later.")

    def expired(self, days: int, now: datetime, renew: Callable[[], None]) -> dict[str, list[str]]:
        """The oldest jobs that have expired, since they have not changed for long, and uploads that were abandoned.

        Args:
            days: after which a job expires; an upload that was never accepted expires after one.
            now: the store's time.
            renew: called between requests to the store, to renew a lock.

        Returns:
            The keys of each one's objects by its id, first the one that was last changed first; `MAX_LISTED` objects
            in all are looked at.
        """
        expires = now - timedelta(days=days)
        found = [(job_id, infos, expires) for job_id, infos in self._created_before(expires)]
        renew()
        for info in self._open():
            if info.modified < now - ABANDONED:
                renew()
                if not self._jobs.exists(job_id := _open_id(info)):
                    found.append((job_id, [*self._objects.list(self._jobs.key(job_id, "")), info], now - ABANDONED))
        changes = [(max(info.modified for info in infos), job_id, infos, limit) for job_id, infos, limit in found]
        expired = sorted((changed, job_id, infos) for changed, job_id, infos, limit in changes if changed < limit)
        return {job_id: [info.key for info in infos] for _, job_id, infos in expired}

    def _created_before(self, moment: datetime) -> list[tuple[str, list[ObjectInfo]]]:
        """The oldest jobs, and their objects, of those whose ids say that they were made before this moment."""
        before = f"{ROOT}{earliest_id(moment.timestamp() * 1000)}"
        listed = list(self._objects.list(ROOT, before=before, limit=MAX_LISTED))
        jobs = [(job_id, list(infos)) for job_id, infos in groupby(listed, key=lambda info: info.key.split("/")[1])]
        if len(listed) == MAX_LISTED and len(jobs) > 1:
            jobs.pop()  # there may be more of it
        return [(job_id, infos) for job_id, infos in jobs if is_job_id(job_id)]

    def _open(self) -> list[ObjectInfo]:
        """The states of what is open."""
        return [info for info in self._objects.list(OPEN) if is_job_id(_open_id(info))]


def _open_id(state: ObjectInfo) -> str:
    """The id of the job that an object below `open/` is the state of."""
    return state.key.removeprefix(OPEN)
