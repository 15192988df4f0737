"""Which jobs may be deleted now because they are old, so that a wrong clock does not delete them all.

- The time is that of the store: of an object that is written for this.
- After that clock has jumped, or while it disagrees with this host's, nothing expires.
- At most a share of all jobs expires at once.
- An expired job gets a tombstone, and is erased an hour later if it is still expired. Until then nothing of it changes.

    maintenance/clock.json      written at each pass; its content says when the clock last jumped
    maintenance/expiring.json   the tombstones: when each job was marked
"""

import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from metseg.contracts import Contract
from metseg.errors import NotFound, UnreadableRecord
from metseg.jobs.store import parse_record
from metseg.storage import ObjectStore

__all__ = ["ClockReading", "StoreClock", "Tombstones", "max_batch"]

CLOCK = "maintenance/clock.json"
TOMBSTONES = "maintenance/expiring.json"
MAX_GAP = timedelta(days=1)
"""Between two passes. A longer gap is a clock that jumped, or a deployment that was off: these look the same."""
QUIET = timedelta(days=1)
"""After a jump nothing expires for so long: time to correct the clock."""
MAX_SKEW = timedelta(hours=1)
GRACE = timedelta(hours=1)
MAX_SHARE = 0.25
MIN_BATCH = 10
"""So many jobs may expire at once, whatever share that is."""

log = logging.getLogger(__name__)


class ClockReading(NamedTuple):
    """The time of the store.

    Attributes:
        now: its time.
        jumped: whether it has jumped since the pass before.
        steady: whether it can be relied on.
    """

    now: datetime
    jumped: bool
    steady: bool


class _ClockRecord(Contract):
    jumped_at: datetime


class StoreClock:
    """The clock of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def read(self) -> ClockReading:
        """Read the clock, and compare it with the pass before and with this host's; StoreUnavailable."""
        before, jumped_at = self._before()
        now = self._write(jumped_at)
        jumped = before is None or not before - MAX_SKEW <= now <= before + MAX_GAP
        if before is None:
            log.info("first pass over this store; nothing expires for a day")
        elif jumped:
            log.warning("the store's clock has jumped, or maintenance was off for long; nothing expires for a day")
        if jumped:
            self._write(now)
        skew = abs(now - datetime.now(UTC))
        if skew > MAX_SKEW:
            log.error("the clocks of this host and the store differ; nothing expires", extra={"skew_s": skew.seconds})
        return ClockReading(now, jumped, not jumped and skew <= MAX_SKEW and now - jumped_at >= QUIET)

    def _before(self) -> tuple[datetime | None, datetime]:
        """The time of the pass before, if there was one, and of the last jump."""
        try:
            record = parse_record(_ClockRecord, self._store.get(CLOCK))
            return self._store.stat(CLOCK).modified, record.jumped_at
        except (NotFound, UnreadableRecord):
            return None, datetime.now(UTC)

    def _write(self, jumped_at: datetime) -> datetime:
        """Write the record; returns the store's time."""
        self._store.put(CLOCK, _ClockRecord(jumped_at=jumped_at).model_dump_json().encode())
        return self._store.stat(CLOCK).modified


class _TombstoneRecord(Contract):
    marked_at: dict[str, datetime]


class Tombstones:
    """The marks of jobs that are about to be erased; one process at a time may use them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def due(self, expired: Sequence[str], now: datetime) -> list[str]:
        """Which jobs are to be erased now; others get a tombstone, and only these keep one.

        Args:
            expired: the ids of those that may be erased.
            now: the store's time.

        Returns:
            Ids in the same order; they lose their tombstones, so one that cannot be erased now is marked again.
        """
        before = self._read()
        marked = {job_id: before.get(job_id, now) for job_id in expired}
        due = [job_id for job_id, marked_at in marked.items() if now - marked_at >= GRACE]
        for job_id in due:
            del marked[job_id]
        if marked:
            self._store.put(TOMBSTONES, _TombstoneRecord(marked_at=marked).model_dump_json().encode())
        elif before:
            self.clear()
        return due

    def clear(self) -> None:
        """Remove all tombstones."""
        self._store.remove([TOMBSTONES])

    def _read(self) -> dict[str, datetime]:
        try:
            return parse_record(_TombstoneRecord, self._store.get(TOMBSTONES)).marked_at
        except (NotFound, UnreadableRecord):
            return {}


def max_batch(total: int) -> int:
    """How many of all jobs may expire at once."""
    return max(MIN_BATCH, math.ceil(MAX_SHARE * total))
