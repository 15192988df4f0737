"""Concurrency within a process: native code releases the GIL, so threads are enough."""

import math
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TypeVar

__all__ = ["cpu_quota", "in_background", "memory_limit_bytes", "parallel_map", "run_all"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
_CGROUP = Path("/sys/fs/cgroup")


def parallel_map(
    function: Callable[[Item], Outcome], items: Iterable[Item], max_concurrency: int
) -> Generator[Outcome, None, None]:
    """As `map`, in the order of the items, with several calls at a time.

    The first call that fails ends the iteration, as closing the generator does: calls that have not started are
    cancelled, and running ones are waited for.

    Args:
        function: called once for each item, on any thread.
        items: its arguments.
        max_concurrency: calls that may run at the same time; 1 uses the caller's thread.

    Yields:
        What each call returned.
    """
    if max_concurrency == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(max_concurrency)
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def run_all(calls: Iterable[Callable[[], object]], max_concurrency: int) -> None:
    """Make all calls and return when each has returned; a failure is handled as in `parallel_map`.

    Args:
        calls: what to call; what they return is dropped.
        max_concurrency: calls that may run at the same time.
    """
    for _ in parallel_map(lambda call: call(), calls, max_concurrency):
        pass


@contextmanager
def in_background(function: Callable[[Callable[[], bool]], Outcome]) -> Iterator[Callable[[], Outcome]]:
    """Call a function on another thread while the block runs; the end of the block waits for it.

    Args:
        function: its argument is a function that returns whether the block has ended, so that the rest of the work
            can be skipped.

    Yields:
        A function that waits for what `function` returns, or raises what it raised.
    """
    ended = Event()
    with ThreadPoolExecutor(1) as pool:
        outcome = pool.submit(function, ended.is_set)
        try:
            yield outcome.result
        finally:
            ended.set()


def cpu_quota() -> int:
    """Whole CPUs that this container may use: its cgroup's quota, or without one the CPUs it may be scheduled on."""
    usable = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return usable if quota is None else max(1, min(usable, math.ceil(quota)))


def _cgroup_quota() -> float | None:
    """CPUs that cgroup v2, or else v1, grants; None where it sets no limit."""
    unified = _CGROUP / "cpu.max"
    if unified.is_file():
        granted, period = unified.read_text().split()
        return None if granted == "max" else int(granted) / int(period)
    v1 = _CGROUP / "cpu" / "cpu.cfs_quota_us"
    if v1.is_file() and (microseconds := int(v1.read_text())) > 0:
        return microseconds / int((_CGROUP / "cpu" / "cpu.cfs_period_us").read_text())
    return None


def memory_limit_bytes() -> int:
    """Memory that this container may use: its cgroup's limit, or without one that of the machine."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # cgroup v2, v1
        limit = _CGROUP / name
        if limit.is_file() and (text := limit.read_text().strip()).isdecimal():
            return min(physical, int(text))
    return physical
