"""A part of an object as a seekable file of which only what is read is fetched."""

from typing_extensions import Buffer

from metseg.seekable import Seekable
from metseg.storage.base import ObjectPart, ObjectStore

__all__ = ["RangedFile"]

READ_AHEAD_BYTES = 2**18


class RangedFile(Seekable):
    """A read-only file of a part of an object, fetched block by block; the last block is kept.

    Args:
        store: holds the object.
        part: of the object, which must not change; its size has to be known.
        read_ahead_bytes: fetched at a time at least, up to the end of the part.
    """

    def __init__(self, store: ObjectStore, part: ObjectPart, read_ahead_bytes: int = READ_AHEAD_BYTES) -> None:
        super().__init__(part.size or 0)
        self._store, self._part = store, part
        self._read_ahead_bytes = read_ahead_bytes
        self._start, self._block = 0, b""

    def readinto(self, buffer: Buffer) -> int:
        """Fill `buffer` from the current position, up to the end of the part."""
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(self._size - self._position, 0))
        if count:
            self._fetch(count)
            first = self._position - self._start
            view[:count] = self._block[first : first + count]
            self._position += count
        return count

    def _fetch(self, count: int) -> None:
        """Load a block that has the next `count` bytes."""
        if self._start <= self._position and self._position + count <= self._start + len(self._block):
            return
        wanted = max(count, self._read_ahead_bytes)
        self._start = max(min(self._position, self._size - wanted), 0)  # at the end: the last block
        count = min(self._position + wanted, self._size) - self._start
        self._block = self._store.get(self._part.key, self._part.first + self._start, count)
