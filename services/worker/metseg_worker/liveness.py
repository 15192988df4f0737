"""The liveness probe of a worker: a task that is sent to it again and again, and that its child has to run.

A process can be alive and yet consume nothing: after a connection was reset, Celery sometimes runs on without a
consumer. So a worker is healthy if its probe was acknowledged, and one that is idle and has acknowledged none for too
long exits, to be started again.
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

PROBE_EVERY_S = 10.0
UNRESPONSIVE_S = 90.0
EXIT = 75  # EX_TEMPFAIL

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
        unresponsive_s: seconds without an acknowledgement, while the queue is available and the child idle.
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
        unresponsive_s: float = UNRESPONSIVE_S,
    ) -> None:
        super().__init__(name="liveness", daemon=True)
        self._node, self._celery, self._workers, self._busy, self._leave = node, celery, workers, busy, leave
        self._every_s, self._unresponsive_s = every_s, unresponsive_s
        self._acknowledged_at = time.monotonic()

    def run(self) -> None:
        """Probe until the process ends."""
        while self.probe():
            time.sleep(self._every_s)

    def probe(self) -> bool:
        """Send one probe and look for the last one's acknowledgement; False once the worker no longer responds."""
        try:
            if self._busy():
                self._workers.acknowledge_probe(self._node)
            else:
                routing_key = probe_queue(self._node).name
                self._celery.send_task(
                    PROBE_TASK, [self._node], exchange="", routing_key=routing_key, expires=self._every_s
                )
            if self._workers.probe_acknowledged(self._node):
                self._acknowledged_at = time.monotonic()
        except (Unavailable, OperationalError, RedisError):
            self._acknowledged_at = time.monotonic()  # without traffic, silence is not a failure
        if time.monotonic() - self._acknowledged_at < self._unresponsive_s:
            return True
        log.error("the worker no longer responds and exits, to be started again")
        self._leave(EXIT)
        return False
