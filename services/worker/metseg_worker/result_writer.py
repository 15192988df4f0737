"""Writes the ends of jobs in the background: while the store is waited for, the next job already computes."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context

from celery.exceptions import SoftTimeLimitExceeded

from metseg.errors import StoreUnavailable
from metseg.jobs import WRITE_WAIT_S

__all__ = ["ResultWriter"]

FLUSH_TIMEOUT_S = 50.0
"""Less than the grace period of the container. A job whose end is cut off is run again elsewhere, after its lease."""


class ResultWriter:
    """Writes one end at a time, on a thread that starts with the first.

    Args:
        max_wait_s: seconds to wait for the end before; less than until Celery kills the task.
    """

    def __init__(self, max_wait_s: float = WRITE_WAIT_S / 2) -> None:
        self._max_wait_s = max_wait_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="result-writer")
        self._last: Future[None] | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Have an end written, after waiting for the one before, so that at most one job's results are in memory.

        The wait does not count for this job: neither its time limit ends it, nor an error of the end before.

        Args:
            write: writes it, and handles whatever fails.

        Raises:
            StoreUnavailable: the end before is still not written.
        """
        try:
            self._submit(write)
        except SoftTimeLimitExceeded:  # comes once; the job is computed, and an end that is written twice counts once
            self._submit(write)

    def _submit(self, write: Callable[[], None]) -> None:
        if self._last is not None and wait([self._last], self._max_wait_s).not_done:
            raise StoreUnavailable("The results of the previous job cannot be stored; the store is too slow.")
        self._last = self._pool.submit(copy_context().run, write)

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Wait until nothing is left to write; False where that takes longer."""
        done = threading.Event()
        self._pool.submit(done.set)
        return done.wait(timeout_s)
