"""The liveness probe of a worker: a task that is sent to it again and again, and that its child has to run.

A process can be alive and yet consume nothing: after a connection was reset, Celery sometimes runs on without a
consumer. So a worker is healthy if its probe was acknowledged, and one that is idle and leaves several in a row without
an acknowledgement exits, to be started again. Probes are counted, not seconds: a process that was suspended is not
unresponsive.
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
from metseg.jobs import PROBE_TASK, WorkerRegistry

__all__ = ["LivenessProbe", "probe_queue"]

PROBE_EVERY_S = 4.0
MAX_UNANSWERED = 5
MAX_UNANSWERED_AT_START = 25
"""Until the first acknowledgement: on a busy machine a child takes long to start."""

log = logging.getLogger(__name__)


def probe_queue(node: str) -> Queue:
    """The queue of one worker's probes; none of it is declared, so that nothing of it is left behind."""
    name = f"{PROBE_TASK}.{node}"
    anonymous = Exchange("", type="direct")  # type: ignore[no-untyped-call]
    return Queue(name, anonymous, routing_key=name, no_declare=True)  # type: ignore[no-untyped-call]


class LivenessProbe(threading.Thread):
    """Sends probes from the worker's main process, and ends that once the worker no longer responds.

    Args:
        node: the worker's name.
        celery: to send with.
        workers: records when the last probe was acknowledged.
        busy: whether the child works on a job, which has a time limit; a probe would have to wait for it.
        leave: ends the process.
        every_s: seconds between two probes.
        max_unanswered: probes in a row that may stay without an acknowledgement, while the queue is available and the
            child idle.
    """

    def __init__(
        self,
        node: str,
        celery: Celery,
        workers: WorkerRegistry,
        busy: Callable[[], bool],
        *,
        leave: Callable[[int], None] = os._exit,
        every_s: float = PROBE_EVERY_S,
        max_unanswered: int = MAX_UNANSWERED,
    ) -> None:
        super().__init__(name="liveness", daemon=True)
        self._node, self._celery, self._workers, self._busy, self._leave = node, celery, workers, busy, leave
        self._every_s, self._max_unanswered = every_s, max_unanswered
        self._max_before_first = max(max_unanswered, MAX_UNANSWERED_AT_START)
        self._ever_answered, self._unanswered = False, 0
        self._sent_at = time.monotonic()

    def run(self) -> None:
        """Probe until the process ends."""
        while self.probe():
            time.sleep(self._every_s)

    def probe(self) -> bool:
        """Look for the last probe's acknowledgement and send one more; False once the worker no longer responds."""
        try:
            self._count()
            self._sent_at = time.monotonic()
            self._send()
        except (Unavailable, OperationalError, RedisError):
            self._unanswered = 0  # without traffic, silence is not a failure
        if self._unanswered < (self._max_unanswered if self._ever_answered else self._max_before_first):
            return True
        log.error("the worker no longer responds and exits, to be started again")
        self._leave(os.EX_TEMPFAIL)
        return False

    def _count(self) -> None:
        """Count the probes without an acknowledgement."""
        if self._workers.probe_age_s(self._node) <= time.monotonic() - self._sent_at:
            self._ever_answered, self._unanswered = True, 0
        else:
            self._unanswered += 1

    def _send(self) -> None:
        if self._busy():
            self._workers.acknowledge_probe(self._node)
            return
        routing_key = probe_queue(self._node).name
        self._celery.send_task(PROBE_TASK, [self._node], exchange="", routing_key=routing_key, expires=self._every_s)
