"""What puts Redis and the store in agreement again, whatever Redis has forgotten."""

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from metseg.contracts import Request
from metseg.errors import NotFound, QueueUnavailable
from metseg.jobs.ids import owner as owner_of
from metseg.jobs.index import Live
from metseg.jobs.metrics import Figures
from metseg.jobs.store import Records

__all__ = ["Reconciler"]

SCAN_EVERY_S = 600

log = logging.getLogger(__name__)


class Reconciler:
    """Makes Redis know what the store knows.

    Args:
        records: the jobs in the store.
        live: what Redis knows of them.
        publish: puts a job's message into the queue.
    """

    def __init__(self, records: Records, live: Live, publish: Callable[[Request], None]) -> None:
        self._records = records
        self._live = live
        self._publish = publish
        self._figures = Figures(live)

    def newest(self, limit: int, before: str | None, owner: str | None) -> list[str]:
        """Ids of the newest jobs older than `before`, of one owner's tag or of all.

        They come from the store where Redis is away or has forgotten them.
        """
        try:
            ids = self._live.newest(limit, before, owner)
            if ids is not None:
                return ids
            self._live.rebuild(self._records.accepted())
            return self._live.newest(limit, before, owner) or []
        except QueueUnavailable:
            older = [job_id for job_id in self._records.accepted() if before is None or job_id < before]
            return [job_id for job_id in reversed(older) if owner in {None, owner_of(job_id)}][:limit]

    def forget(self, job_id: str) -> None:
        """Let Redis forget a job; what it still knows while it is away is found stale when it is looked up."""
        with suppress(QueueUnavailable):
            self._live.forget(job_id)

    def recover(self) -> int:
        """Queue lost jobs again; see `Jobs.recover`."""
        with self._live.alone("recover", ttl_s=60) as mine:
            return self._recover() if mine else 0

    def _recover(self) -> int:
        known = self._live.open_jobs()
        if known is None:
            ids = self._records.accepted()
            self._live.rebuild(ids)
        else:
            ids = known
        queued = self._live.in_queue()
        lost = [job_id for job_id in ids if self._is_lost(job_id, queued)]
        for job_id in lost:
            with suppress(NotFound):  # deleted this moment
                request = self._records.request(job_id)
                log.warning("job %s was lost and is queued again", job_id)
                self._live.enter(job_id)
                self._publish(request)
        if known is None:
            self._live.scanned(SCAN_EVERY_S)
        if lost:
            self._figures.recovered(len(lost))
        return len(lost)

    def _is_lost(self, job_id: str, queued: Collection[str]) -> bool:
        try:
            job = self._records.job(job_id)
        except NotFound:
            self.forget(job_id)
            return False
        if job.status.final:
            self._live.close(job_id)
            return False
        self._live.reopen(job_id)
        age = abs(datetime.now(UTC) - job.created_at)  # a clock may be wrong, either way
        on_its_way = job.attempts == 0 and age < timedelta(seconds=self._live.claim_ttl_s)
        return not (on_its_way or job_id in queued or self._live.sight(job_id).claimed)
