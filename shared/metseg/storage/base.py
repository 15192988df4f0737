"""The interface of an object store, and what all stores share."""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import BinaryIO, NamedTuple, Protocol

from metseg.errors import UploadInterrupted

CHUNK_BYTES = 2**20
MAX_REMOVED = 300
"""Objects that one request deletes. A server deletes them one by one, and has to answer in time."""
KEY_DAYS = 2
"""After which `keys/` expires; readers check the age of a key to the second."""
MARKER = "store.json"
"""Written by `prepare`: without it, an empty folder or bucket that is in the store's place is not the store."""
_KEY = re.compile(r"[a-z0-9._-]+(/[a-z0-9._-]+)*")


class ObjectInfo(NamedTuple):
    """The metadata of an object; `etag` changes whenever the content does."""

    key: str
    size: int
    etag: str
    modified: datetime


class ObjectPart(NamedTuple):
    """A part of an object.

    Attributes:
        key: of the object.
        first: offset of the part, bytes.
        size: of the part, bytes, at least 1; None: to the end of the object.
    """

    key: str
    first: int = 0
    size: int | None = None


class ObjectStore(Protocol):
    """Objects under keys of `[a-z0-9._/-]`; any other key is a ValueError.

    All calls raise StoreUnavailable where the store does not answer.
    """

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        size: int | None = None,
        content_type: str = "application/octet-stream",
    ) -> None:
        """Write an object, replacing one with the same key.

        Args:
            key: of the object.
            data: bytes, or a stream, which is read in chunks.
            size: bytes that the stream must have; None where that is not known.
            content_type: its media type.

        Raises:
            UploadInterrupted: the stream does not have `size` bytes; nothing was written.
            StoreUnavailable: the store failed; nothing was written.
        """

    def create(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> bool:
        """Write an object unless its key exists; of several concurrent calls, one succeeds.

        Args:
            key: of the object.
            data: unique to the caller, so that a call that is repeated because its response was lost recognises its
                own object.
            content_type: its media type.

        Returns:
            Whether the object is the caller's.

        Raises:
            StoreUnavailable: the store failed; the object may or may not have been written.
        """

    def get(self, key: str, first: int = 0, size: int | None = None) -> bytes:
        """An object or a part of it (`ObjectPart`), as far as the object has it.

        Args:
            key: of the object.
            first: offset, bytes.
            size: bytes, at least 1; None: to the end.

        Returns:
            The bytes.

        Raises:
            NotFound: there is no such object.
        """

    def stream(self, key: str, first: int = 0, size: int | None = None) -> AbstractContextManager[Iterator[bytes]]:
        """An object or a part of it, as far as the object has it, in chunks; NotFound on entering.

        Args:
            key: of the object.
            first: offset, bytes.
            size: bytes, at least 1; None: to the end.

        Returns:
            The chunks, within the block.
        """

    def stat(self, key: str) -> ObjectInfo:
        """The metadata of the object; NotFound."""

    def list(self, prefix: str, *, before: str | None = None, limit: int | None = None) -> Iterator[ObjectInfo]:
        """Every object whose key begins with the string `prefix`, in the order of keys.

        A store may list folder by folder. So `before` and `limit` are for folders whose names have one length, where
        that is the order of keys, too.

        Args:
            prefix: of the keys.
            before: only keys that sort before this string; no others are fetched from the store, but for a page.
            limit: how many objects at most, the first ones.

        Returns:
            Their metadata.
        """

    def folders(self, prefix: str, *, after: str = "") -> Iterator[str]:
        """The names of the folders directly below a folder, in order, fetched in pages as they are asked for.

        A folder whose objects were all deleted may still be listed.

        Args:
            prefix: of the folder, with its slash.
            after: a string; only names that sort after it.

        Returns:
            The names.
        """

    def delete(self, prefix: str) -> None:
        """Delete the object `prefix` and all objects below `prefix/`, if there are any."""

    def remove(self, keys: Sequence[str]) -> None:
        """Delete these objects, those of them that exist, in one request for each `MAX_REMOVED`."""

    def check(self) -> None:
        """Check quickly that this is a store that was prepared and can be used; StoreUnavailable."""

    def free_bytes(self) -> int | None:
        """Free space, bytes; None where the store does not report it."""

    def reserve(self, size: int) -> AbstractContextManager[None]:
        """Take disk space, within the block, for what is about to be written, if `free_bytes` is known.

        The file system counts it, so that all processes see it and nothing is left of it after a crash.

        Args:
            size: in bytes.

        Raises:
            StoreUnavailable: there is too little.
        """

    def prepare(self, job_days: int) -> None:
        """Create the bucket or folder, the rules that expire jobs (late) and their keys, and the marker. Idempotent."""


class SizedStream:
    """A stream that must have exactly `size` bytes, if that is known."""

    def __init__(self, data: bytes | BinaryIO, size: int | None) -> None:
        self._stream = io.BytesIO(data) if isinstance(data, bytes) else data
        self._size = size
        self._done = 0

    def read(self, count: int = -1) -> bytes:
        """The next bytes; UploadInterrupted where the stream ends too early or too late."""
        chunk = self._stream.read(count)
        self._done += len(chunk)
        if not chunk and self._size is not None and self._done != self._size:
            raise UploadInterrupted(f"{self._done} bytes were received, {self._size} were announced.")
        return chunk


def check_key(key: str) -> None:
    """Raise a ValueError unless this is a valid key."""
    if not _KEY.fullmatch(key) or not {".", ".."}.isdisjoint(key.split("/")):
        raise ValueError(f"not a key: {key!r}")


def check_prefix(prefix: str) -> None:
    """Raise a ValueError unless this is the prefix of a valid key."""
    if prefix:
        check_key(prefix.removesuffix("/"))
