"""A worker's canary: a task of its own, sent again and again, which its child has to answer.

A process that lives may be deaf: a connection that was reset leaves Celery running without a consumer now and then. So
health is an answered canary, and a worker that is idle and silent for too long ends, to be started again.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from metseg.errors import Unavailable
from metseg.jobs import CANARY, Jobs

__all__ = ["Canary", "queue_of"]

EVERY_S = 10.0
DEAF_S = 90.0
EXIT = 75  # EX_TEMPFAIL

log = logging.getLogger(__name__)


def queue_of(node: str) -> Queue:
    """The queue of one worker's canaries; nothing has to be declared of it, so that nothing of it stays."""
    name = f"{CANARY}.{node}"
    anonymous = Exchange("", type="direct")  # type: ignore[no-untyped-call]
    return Queue(name, anonymous, routing_key=name, no_declare=True)  # type: ignore[no-untyped-call]


class Canary(threading.Thread):
    """Sends canaries in the worker's main process, and ends it once it is deaf.

    Args:
        node: the worker's name.
        celery: to send with.
        jobs: of this process: knows when the last canary was answered.
        busy: whether the child works on a job, which its time limit ends; an answer has to wait then.
        leave: ends the process.
        every_s: between two canaries.
        deaf_s: without an answer, while the queue answers and the child is idle.
    """

    def __init__(
        self,
        node: str,
        celery: Celery,
        jobs: Jobs,
        busy: Callable[[], bool],
        *,
        leave: Callable[[int], None] = os._exit,
        every_s: float = EVERY_S,
        deaf_s: float = DEAF_S,
    ) -> None:
        super().__init__(name="canary", daemon=True)
        self._node, self._celery, self._jobs, self._busy, self._leave = node, celery, jobs, busy, leave
        self._every_s, self._deaf_s = every_s, deaf_s
        self._heard = time.monotonic()

    def run(self) -> None:
        """Send and listen until the process ends."""
        while self.once():
            time.sleep(self._every_s)

    def once(self) -> bool:
        """Send one canary and see to the last; False once the worker is deaf."""
        try:
            if self._busy():
                self._jobs.answer(self._node)
            else:
                queue = queue_of(self._node)
                self._celery.send_task(CANARY, [self._node], exchange="", routing_key=queue.name, expires=self._every_s)
            if self._jobs.answers(self._node):
                self._heard = time.monotonic()
        except (Unavailable, OperationalError, RedisError):
            self._heard = time.monotonic()  # nobody is deaf where nobody speaks
        if time.monotonic() - self._heard < self._deaf_s:
            return True
        log.error("the worker is deaf and ends, to be started again")
        self._leave(EXIT)
        return False
