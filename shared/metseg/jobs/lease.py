"""Claims: who works on a job, for as long as it lives."""

import logging
import threading
import time
import uuid
from collections.abc import Callable

from metseg.contracts import Progress
from metseg.errors import QueueUnavailable
from metseg.jobs.index import Live

__all__ = ["Claim", "take"]

BEATS = 5
"""How often a claim is renewed within its life."""

log = logging.getLogger(__name__)


class Claim:
    """A claim on a job, renewed by a thread of its own until it is given up, lost, or older than any job may be.

    While Redis is away a claim counts as held: nobody can take it over, and the store settles who was first.
    """

    def __init__(self, live: Live, job_id: str, token: str, longest_s: float) -> None:
        self._live = live
        self._job_id = job_id
        self._token = token
        self._ends = time.monotonic() + longest_s
        self._stop = threading.Event()
        self._lost = False
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)
        self._thread.start()

    def held(self, progress: Progress | None = None) -> bool:
        """Renew it, and note how far the job is; False once that is cancelled or another's."""
        try:
            self._lost = self._lost or self._live.hold(self._job_id, self._token, progress) != "held"
        except QueueUnavailable:
            log.warning("job %s goes on while the queue is away", self._job_id)
        return not self._lost

    def give_up(self) -> None:
        """End it, so that another may have the job at once."""
        self._stop.set()
        self._thread.join()
        try:
            self._live.release(self._job_id, self._token)
        except QueueUnavailable:
            log.warning("the claim on job %s is left to expire", self._job_id)

    def _beat(self) -> None:
        while not self._stop.wait(self._live.claim_ttl_s / BEATS) and time.monotonic() < self._ends:
            if not self.held():
                return


def take(live: Live, job_id: str, longest_s: float, sleep: Callable[[float], None] = time.sleep) -> Claim | None:
    """Claim a job; None where a living worker has it or it is cancelled.

    A claim that is there but silent belongs to a worker that died: it is waited for, one claim's life at most, since
    the message that brings us here may be the job's last.

    Raises:
        QueueUnavailable: Redis does not answer.
    """
    token = uuid.uuid4().hex
    pause_s = live.claim_ttl_s * 1.5 / BEATS
    while (answer := live.hold(job_id, token)) == "taken":
        before_s = live.claim_left_s(job_id)
        sleep(pause_s)
        if live.claim_left_s(job_id) > max(before_s - pause_s / 2, 0):  # somebody renewed it
            return None
    return Claim(live, job_id, token, longest_s) if answer == "held" else None
