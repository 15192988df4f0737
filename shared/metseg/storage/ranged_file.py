"""An object as a file that is read from any place, without fetching what nobody reads."""

from typing_extensions import Buffer

from metseg.seekable import Seekable
from metseg.storage.base import ObjectInfo, ObjectStore

__all__ = ["RangedFile"]

AHEAD_BYTES = 2**18


class RangedFile(Seekable):
    """A read-only file of one object, fetched block by block; the last block is kept.

    Args:
        store: that holds it.
        info: of the object, which must not change.
        ahead_bytes: fetched at a time at least, as far as the object goes.
    """

    def __init__(self, store: ObjectStore, info: ObjectInfo, ahead_bytes: int = AHEAD_BYTES) -> None:
        super().__init__(info.size)
        self._store, self._key = store, info.key
        self._ahead_bytes = ahead_bytes
        self._start, self._block = 0, b""

    def readinto(self, buffer: Buffer) -> int:
        """Fill `buffer` from the position on, as far as the object goes."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(self._size - self._position, 0))
        if count:
            self._fetch(count)
            first = self._position - self._start
            view[:count] = self._block[first : first + count]
            self._position += count
        return count

    def _fetch(self, count: int) -> None:
        """Have the next `count` bytes in the block."""
        if self._start <= self._position and self._position + count <= self._start + len(self._block):
            return
        wanted = max(count, self._ahead_bytes)
        self._start = max(min(self._position, self._size - wanted), 0)  # near the end: all that is left, and before it
        self._block = self._store.read(self._key, self._start, min(self._position + wanted, self._size) - self._start)
