"""Leases: which worker may work on a job, for as long as that worker is alive.

redis-py's Lock is not used for them: a lease is renewed in the same Lua call that stores the progress and sees a
cancellation, so that one round trip per report does all three.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Final, Literal, cast

from metseg.contracts import Progress
from metseg.errors import QueueUnavailable
from metseg.jobs.redis_connection import RedisConnection, cancelled_key, lease_key, progress_key, text

__all__ = ["Lease", "LeaseTable"]

LeaseState = Literal["held", "taken", "cancelled"]

RENEWALS_PER_TTL: Final = 5
RENEW: Final = """
if redis.call('exists', KEYS[2]) == 1 then return 'cancelled' end
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 'taken' end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
if ARGV[4] then
  redis.call('hset', KEYS[3], 'done', ARGV[4], 'total', ARGV[5])
  redis.call('expire', KEYS[3], ARGV[3])
end
return 'held'
"""
RELEASE: Final = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"

log = logging.getLogger(__name__)


class LeaseTable:
    """All leases in Redis.

    Args:
        redis: where they are.
        ttl_s: seconds after which a lease expires unless it is renewed.
        cancel_ttl_s: seconds for which a cancellation is remembered, longer than any job may run.
    """

    def __init__(self, redis: RedisConnection, *, ttl_s: float, cancel_ttl_s: int) -> None:
        self._redis = redis
        self.ttl_s = ttl_s
        self._cancel_ttl_s = cancel_ttl_s
        self._renew = redis.client.register_script(RENEW)
        self._release = redis.client.register_script(RELEASE)

    def acquire(self, job_id: str, max_age_s: float, sleep: Callable[[float], None] = time.sleep) -> "Lease | None":
        """Lease a job.

        A lease that exists but is not renewed belongs to a worker that died. Its expiry is waited for, one `ttl_s` at
        most, since the message that caused this call may be the job's last.

        Args:
            job_id: of the job.
            max_age_s: seconds after which the lease is no longer renewed.
            sleep: pauses for some seconds.

        Returns:
            The lease; None where a worker that is alive holds it, or the job is cancelled.

        Raises:
            QueueUnavailable: Redis does not answer.
        """
        token = uuid.uuid4().hex
        pause_s = self.ttl_s * 1.5 / RENEWALS_PER_TTL
        while (state := self.renew(job_id, token)) == "taken":
            before_s = self.remaining_s(job_id)
            sleep(pause_s)
            if self.remaining_s(job_id) > max(before_s - pause_s / 2, 0):  # its holder renewed it
                return None
        return Lease(self, job_id, token, max_age_s) if state == "held" else None

    def renew(self, job_id: str, token: str, progress: Progress | None = None) -> LeaseState:
        """Take or renew the lease of a job; QueueUnavailable.

        Args:
            job_id: of the job.
            token: of the holder.
            progress: of the job, to be shown to its clients.

        Returns:
            Whether the holder has the lease now, or why not: another has it, or the job is cancelled.
        """
        keys = [lease_key(job_id), cancelled_key(job_id), progress_key(job_id)]
        reported = [] if progress is None else [progress.done, progress.total]
        with self._redis.errors():
            state = self._renew(keys=keys, args=[token, int(self.ttl_s * 1000), self._cancel_ttl_s, *reported])
        return cast(LeaseState, text(state))

    def release(self, job_id: str, token: str) -> None:
        """Delete the lease of a job if its holder has this token; QueueUnavailable.

        Args:
            job_id: of the job.
            token: of the holder.
        """
        with self._redis.errors():
            self._release(keys=[lease_key(job_id)], args=[token])

    def remaining_s(self, job_id: str) -> float:
        """Seconds until the lease of a job expires unless it is renewed; 0 where there is none; QueueUnavailable."""
        with self._redis.errors():
            return float(max(0, self._redis.client.pttl(lease_key(job_id)))) / 1000

    def cancel(self, job_id: str) -> None:
        """Let no worker take or renew the lease of a job; QueueUnavailable."""
        with self._redis.errors():
            self._redis.client.set(cancelled_key(job_id), "1", ex=self._cancel_ttl_s)


class Lease:
    """The lease of one job, renewed by a thread until it is released, lost, or older than any attempt may be.

    While Redis is down a lease counts as held: nobody else can take it, and the store decides which end counts.

    Args:
        table: that it is in.
        job_id: of the job.
        token: of the holder.
        max_age_s: seconds after which it is no longer renewed.
    """

    def __init__(self, table: LeaseTable, job_id: str, token: str, max_age_s: float) -> None:
        self._table = table
        self._job_id = job_id
        self._token = token
        self._ends = time.monotonic() + max_age_s
        self._stop = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._keep_renewing, name="lease", daemon=True)
        self._thread.start()

    def renew(self, progress: Progress | None = None) -> bool:
        """Renew it, with the job's progress; False once the job is cancelled or another worker's."""
        try:
            self._lost = self._lost or self._table.renew(self._job_id, self._token, progress) != "held"
        except QueueUnavailable:
            log.warning("job %s continues while the queue is unavailable", self._job_id)
        return not self._lost

    def release(self) -> None:
        """End it, so that another worker can lease the job at once."""
        self.stop_renewing()
        try:
            self._table.release(self._job_id, self._token)
        except QueueUnavailable:
            log.warning("the lease of job %s is left to expire", self._job_id)

    def stop_renewing(self) -> None:
        """Let it expire."""
        self._stop.set()
        self._thread.join()

    def _keep_renewing(self) -> None:
        while not self._stop.wait(self._table.ttl_s / RENEWALS_PER_TTL) and time.monotonic() < self._ends:
            if not self.renew():
                return
