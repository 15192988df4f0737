"""Limits on what one process of the gateway does at a time; what is beyond them waits in order."""

import math
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from metseg.errors import TooManyDownloads, TooManyRequests

__all__ = ["DownloadLimiter", "UploadLimiter", "VoxelLimiter"]


@dataclass(frozen=True)
class _Waiting:
    voxels: int
    admitted: anyio.Event = field(default_factory=anyio.Event)


class VoxelLimiter:
    """Conversions that together read at most so many voxels, however many requests they are of.

    Args:
        voxels: in all; a conversion of more counts as all of them.
    """

    def __init__(self, voxels: int) -> None:
        self._voxels = self._free = voxels
        self._queue: deque[_Waiting] = deque()

    @asynccontextmanager
    async def hold(self, voxels: int) -> AsyncIterator[None]:
        """Wait until so many voxels are free, and hold them within the block."""
        one = _Waiting(min(voxels, self._voxels))
        self._queue.append(one)
        self._admit()
        try:
            await one.admitted.wait()
            yield
        finally:
            if one.admitted.is_set():
                self._free += one.voxels
            else:
                self._queue.remove(one)
            self._admit()

    def _admit(self) -> None:
        while self._queue and self._queue[0].voxels <= self._free:
            one = self._queue.popleft()
            self._free -= one.voxels
            one.admitted.set()


class DownloadLimiter:
    """Files of one API key that are made or sent at a time, so that one that reads slowly keeps nobody else waiting.

    Args:
        per_key: how many.
        max_wait_s: after which a further one is refused.
    """

    def __init__(self, per_key: int, max_wait_s: float) -> None:
        self._per_key, self._max_wait_s = per_key, max_wait_s
        self._free: defaultdict[str, anyio.Semaphore] = defaultdict(lambda: anyio.Semaphore(per_key))

    async def acquire(self, key: str) -> None:
        """Wait for one of a key's downloads; `release` returns it.

        Raises:
            TooManyDownloads: the others do not end.
        """
        with anyio.move_on_after(self._max_wait_s):
            await self._free[key].acquire()
            return
        raise TooManyDownloads(f"{self._per_key} files are being sent to you; read or close them first.")

    def release(self, key: str) -> None:
        """Return one of a key's downloads."""
        self._free[key].release()


@dataclass(frozen=True)
class _WaitingUpload:
    key: str
    admitted: anyio.Event = field(default_factory=anyio.Event)


class UploadLimiter:
    """Uploads or reviews in receipt or in storing, shared fairly: a free slot goes to the key that holds the fewest.

    Args:
        slots: in all.
        per_key: of one API key, fewer than all, so that it cannot take them from others.
        max_wait_s: after which a further upload is refused.
    """

    def __init__(self, slots: int, per_key: int, max_wait_s: float = math.inf) -> None:
        self._free, self._per_key, self._max_wait_s = slots, per_key, max_wait_s
        self._held: Counter[str] = Counter()
        self._queue: list[_WaitingUpload] = []

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        """Wait for a slot, and hold it within the block.

        Raises:
            TooManyRequests: none becomes free in time.
        """
        one = _WaitingUpload(key)
        self._queue.append(one)
        self._admit()
        try:
            with anyio.move_on_after(self._max_wait_s):
                await one.admitted.wait()
            if not one.admitted.is_set():
                raise TooManyRequests("Too many of your requests are being received; send it again when they are done.")
            yield
        finally:
            if one.admitted.is_set():
                self._free += 1
                self._held[key] -= 1
            else:
                self._queue.remove(one)
            self._admit()

    def _admit(self) -> None:
        while self._free and (able := [each for each in self._queue if self._held[each.key] < self._per_key]):
            one = min(able, key=lambda each: self._held[each.key])  # the first of them
            self._queue.remove(one)
            self._free -= 1
            self._held[one.key] += 1
            one.admitted.set()
        self._held = +self._held
