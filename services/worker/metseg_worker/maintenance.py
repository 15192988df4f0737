"""What a worker does in addition to its jobs: queue lost ones again, and delete what has expired."""

import logging
import threading
import time
import traceback
from collections.abc import Callable
from socket import gethostname

from metseg.errors import Unavailable
from metseg.jobs import Maintenance, WorkerRegistry
from metseg.parallel import memory_limit_bytes

__all__ = ["MaintenanceThread"]

RECOVER_EVERY_S = 10.0
EXPIRE_EVERY_S = 3600.0

log = logging.getLogger(__name__)


class MaintenanceThread(threading.Thread):
    """Runs for as long as the worker's main process; what fails while the store or Redis is down is done later.

    Args:
        maintenance: of all jobs.
        workers: where the worker's heartbeats go.
        recover_every_s: seconds between two searches for lost jobs.
    """

    def __init__(
        self, maintenance: Maintenance, workers: WorkerRegistry, recover_every_s: float = RECOVER_EVERY_S
    ) -> None:
        super().__init__(name="maintenance", daemon=True)
        self._maintenance = maintenance
        self._workers = workers
        self._recover_every_s = recover_every_s
        self._expires_at = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Run the maintenance again and again."""
        while True:
            for step in (self._recover, self._expire):
                self._run(step)
            if self._stopped.wait(self._recover_every_s):
                return

    @staticmethod
    def _run(step: Callable[[], None]) -> None:
        """Run a step; whatever fails in it, this thread goes on."""
        try:
            step()
        except Unavailable as error:
            log.warning("maintenance is postponed", extra={"reason": error.detail})
        except Exception as error:  # noqa: BLE001 (no failure may end the maintenance)
            where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            log.error("maintenance met a bug", extra={"error": type(error).__name__, "where": where})

    def _recover(self) -> None:
        """Send a heartbeat and recover lost jobs."""
        self._workers.heartbeat(gethostname(), memory_limit_bytes())
        if recovered := self._maintenance.recover():
            log.warning("lost jobs queued again", extra={"jobs": recovered})

    def _expire(self) -> None:
        """Delete expired jobs if that is due."""
        if time.monotonic() >= self._expires_at:
            if expired := self._maintenance.expire():
                log.info("expired jobs deleted", extra={"jobs": expired})
            self._expires_at = time.monotonic() + EXPIRE_EVERY_S

    def stop(self) -> None:
        """End it after the current run."""
        self._stopped.set()
