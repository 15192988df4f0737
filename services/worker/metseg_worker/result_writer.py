"""Ends of jobs, each written beside the next job's work: the store is waited for while the processors compute."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context

__all__ = ["Endings"]

PATIENCE_S = 50.0
"""How long a process that leaves waits for the last end; less than the container's grace. A job whose end is cut off
begins again elsewhere, once its claim has expired."""


class Endings:
    """Writes one end at a time, on a thread of its own that begins with the first."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ending")
        self._last: Future[None] | None = None

    def hand_over(self, end: Callable[[], None]) -> None:
        """Have an end written. Waits for the one before, so that the results of one job at most lie in memory.

        Args:
            end: what writes it; sees itself to whatever fails.
        """
        if self._last is not None:
            self._last.result()
        self._last = self._pool.submit(copy_context().run, end)

    def settle(self, timeout_s: float = PATIENCE_S) -> bool:
        """Wait until nothing is left to be written; False where that takes too long."""
        done = threading.Event()
        self._pool.submit(done.set)
        return done.wait(timeout_s)
