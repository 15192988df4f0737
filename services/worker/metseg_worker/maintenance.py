"""What a worker does beside its jobs: bring lost ones back, and clear away what has expired."""

import logging
import threading
import time
from socket import gethostname

from metseg.errors import Unavailable
from metseg.jobs import Jobs

__all__ = ["Upkeep"]

RECOVER_EVERY_S = 10.0
EXPIRE_EVERY_S = 3600.0

log = logging.getLogger(__name__)


class Upkeep(threading.Thread):
    """Runs in the worker's main process for as long as that lives; what is away now is there another time."""

    def __init__(self, jobs: Jobs, recover_every_s: float = RECOVER_EVERY_S) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._jobs = jobs
        self._recover_every_s = recover_every_s
        self._expires_at = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Look after the jobs again and again."""
        while True:
            try:
                self.once()
            except Unavailable as error:
                log.warning("upkeep waits", extra={"reason": error.detail})
            if self._stopped.wait(self._recover_every_s):
                return

    def once(self) -> None:
        """Look after the jobs."""
        self._jobs.present(gethostname())
        if recovered := self._jobs.recover():
            log.warning("lost jobs queued again", extra={"jobs": recovered})
        if time.monotonic() >= self._expires_at:
            if expired := self._jobs.expire():
                log.info("expired jobs deleted", extra={"jobs": expired})
            self._expires_at = time.monotonic() + EXPIRE_EVERY_S

    def stop(self) -> None:
        """End it after what it does at the moment."""
        self._stopped.set()
