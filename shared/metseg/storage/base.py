"""What every store promises, and what all of them need."""

import io
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import BinaryIO, NamedTuple, Protocol

from metseg.errors import UploadInterrupted

CHUNK_BYTES = 2**20
KEY_DAYS = 2
"""After which `keys/` expires: whoever reads there looks at the hours by himself."""
_KEY = re.compile(r"[a-z0-9._-]+(/[a-z0-9._-]+)*")


class ObjectInfo(NamedTuple):
    """What is known of an object without reading it; `etag` changes whenever the content does."""

    key: str
    size: int
    etag: str
    modified: datetime


class ObjectStore(Protocol):
    """Objects under keys of `[a-z0-9._/-]`; any other key is a ValueError."""

    def put(
        self,
        key: str,
        data: bytes | BinaryIO,
        *,
        size: int | None = None,
        content_type: str = "application/octet-stream",
    ) -> None:
        """Write an object, replacing what was there.

        Args:
            key: its name.
            data: bytes, or a stream that is read in chunks, never whole.
            size: the length that a stream must have; None where it is not known.
            content_type: as HTTP means it.

        Raises:
            UploadInterrupted: the stream's length is not `size`; nothing was written.
            StoreUnavailable: the store failed; nothing was written.
        """

    def create(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> bool:
        """Write an object unless there is one; of many that try at once, one does.

        Args:
            key: its name.
            data: unlike what anybody else would write there, so that an answer that was lost can be told from a defeat.
            content_type: as HTTP means it.

        Returns:
            Whether what lies there is ours.

        Raises:
            StoreUnavailable: the store failed; whether it was written is not known.
        """

    def get(self, key: str) -> bytes:
        """The whole object; NotFound."""

    def stream(self, key: str) -> AbstractContextManager[Iterator[bytes]]:
        """The object in chunks; NotFound on entering."""

    def read(self, key: str, first: int, count: int) -> bytes:
        """Some bytes of the object, from its byte `first` on: `count` of them, which it must have; NotFound."""

    def stat(self, key: str) -> ObjectInfo:
        """What is known of the object; NotFound."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with the string `prefix`, in the order of keys."""

    def delete(self, prefix: str) -> None:
        """Remove the object `prefix` and all below `prefix/`; nothing there is fine."""

    def check(self) -> None:
        """Quickly see whether the store can be used; StoreUnavailable."""

    def free_bytes(self) -> int | None:
        """The room that is left; None where the store does not tell."""

    def prepare(self, job_days: int) -> None:
        """Make the store usable: its bucket or folder, and the rules that expire `jobs/` and `keys/`. Idempotent."""


class SizedStream:
    """A stream that must end after exactly `size` bytes, where that is known."""

    def __init__(self, data: bytes | BinaryIO, size: int | None) -> None:
        self._stream = io.BytesIO(data) if isinstance(data, bytes) else data
        self._size = size
        self._done = 0

    def read(self, count: int = -1) -> bytes:
        """The next bytes, as any stream's `read`; UploadInterrupted at a wrong end."""
        chunk = self._stream.read(count)
        self._done += len(chunk)
        if not chunk and self._size is not None and self._done != self._size:
            raise UploadInterrupted(f"{self._done} bytes came where {self._size} were announced.")
        return chunk


def check_key(key: str) -> None:
    """Refuse what is no key of ours: ValueError."""
    if not _KEY.fullmatch(key) or not {".", ".."}.isdisjoint(key.split("/")):
        raise ValueError(f"not a key: {key!r}")


def check_prefix(prefix: str) -> None:
    """Refuse what no key of ours begins with: ValueError."""
    if prefix:
        check_key(prefix.removesuffix("/"))
