"""Writes the ends of jobs in the background: while the store is waited for, the next job already computes."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

__all__ = ["ResultWriter"]

FLUSH_TIMEOUT_S = 50.0
"""Less than the grace period of the container. A job whose end is cut off is run again elsewhere, after its lease."""


class ResultWriter:
    """Writes one end at a time, on a thread that starts with the first."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="result-writer")
        self._last: Future[None] | None = None

    def submit(self, write: Callable[[], None]) -> None:
        """Have an end written, after waiting for the one before, so that at most one job's results are in memory.

        Args:
            write: writes it, and handles whatever fails.
        """
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(copy_context().run, write)

    def flush(self, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Wait until nothing is left to write; False where that takes longer."""
        done = threading.Event()
        self._pool.submit(done.set)
        return done.wait(timeout_s)
