"""Work side by side: native code lets go of Python's lock, so threads are enough."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

__all__ = ["all_done", "beside", "side_by_side"]

Item = TypeVar("Item")
Answer = TypeVar("Answer")


def side_by_side(
    function: Callable[[Item], Answer], items: Iterable[Item], lanes: int
) -> Generator[Answer, None, None]:
    """What `map` gives, in its order, from up to `lanes` calls at a time.

    The first call that fails ends it, as does closing it: what has not begun then never begins, and what has is
    waited for.
    """
    if lanes == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(lanes)
    try:
        yield from pool.map(function, items)
    finally:
        pool.shutdown(cancel_futures=True)


def all_done(calls: Iterable[Callable[[], object]], lanes: int) -> None:
    """Make calls side by side, and come back when each has been made; as `side_by_side` where one fails."""
    for _ in side_by_side(lambda call: call(), calls, lanes):
        pass  # what a call gives is not wanted


@contextmanager
def beside(function: Callable[[Callable[[], bool]], Answer]) -> Iterator[Callable[[], Answer]]:
    """Call a function on a thread of its own, beside the block.

    Args:
        function: is given what tells whether the block has ended, after which nobody wants its answer.

    Yields:
        What waits for the answer, or raises what the function raised.
    """
    ended = Event()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(function, ended.is_set)
        try:
            yield answer.result
        finally:
            ended.set()
