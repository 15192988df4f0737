"""Files that are made for a request: written to the spool's disk, then read from there as the client takes them."""

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple, TypeVar, cast

from metseg.errors import StorageFull
from metseg.settings import Settings

__all__ = ["SpooledFile", "check_free_disk", "make"]

T = TypeVar("T")
IN_MEMORY_BYTES = 2**20
"""A file that is no larger needs no disk."""
CHUNK_BYTES = 2**17
"""Read and sent at a time: what a slow client holds in memory."""
BYTES_PER_VOXEL = 4
"""Of the disk that a conversion may need: a file of 16 bits, and as much to reorder voxels."""
SMALL_BYTES = 2**24
"""Conversions that need no more are made as long as there is any room."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SpooledFile(NamedTuple):
    """A file that was made, until its chunks have been read; it has no name, so that nothing of it outlives us."""

    content: BinaryIO
    size: int

    @contextmanager
    def chunks(self) -> Iterator[Iterator[bytes]]:
        """Its content from the start; it is deleted at the end."""
        with self.content:
            self.content.seek(0)
            yield iter(lambda: self.content.read(CHUNK_BYTES), b"")


def make(write: Callable[[T, BinaryIO], None], finished: T) -> SpooledFile:
    """Make a file.

    Args:
        write: writes it.
        finished: the job or the follow-up of which it is made.

    Returns:
        The file.

    Raises:
        StorageFull: the disk is full.
        MetsegError: as raised by `write`.
    """
    content = cast(BinaryIO, tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES))  # noqa: SIM115 -- `chunks` closes it
    try:
        write(finished, content)
        return SpooledFile(content, content.seek(0, os.SEEK_END))
    except BaseException as error:
        with suppress(OSError):
            content.close()
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise _full() from error
        raise


def check_free_disk(settings: Settings, voxels: int) -> None:
    """Refuse a large conversion before the disk is full.

    Args:
        settings: which reserve disk space.
        voxels: that are converted.

    Raises:
        StorageFull: less than the reserve would be left.
    """
    needed = BYTES_PER_VOXEL * voxels
    if needed > SMALL_BYTES and shutil.disk_usage(tempfile.gettempdir()).free - needed < settings.disk_reserve_bytes:
        raise _full()


def _full() -> StorageFull:
    return StorageFull("Too little disk space is left to make this file; try again later, or ask the operator.")
