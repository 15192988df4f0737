"""Limits on what one process of the gateway does at a time; what is beyond them waits in order."""

from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from metseg.errors import TooManyDownloads

__all__ = ["DownloadLimiter", "VoxelLimiter"]


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
