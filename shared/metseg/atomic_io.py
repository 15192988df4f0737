"""Files that appear whole or not at all, and folders that one process uses at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, cast

from filelock import FileLock, Timeout

from metseg.errors import Conflict

__all__ = ["atomic_write", "atomic_write_bytes", "folder_lock", "remove_leftovers"]

_SCRATCH = ".~"
"""The prefix of an unfinished file's name."""


@contextmanager
def atomic_write(target: Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces `target` at the end of the block, or is deleted if the block raises.

    `remove_leftovers` deletes what a killed process leaves behind.
    """
    with NamedTemporaryFile(dir=target.parent, prefix=_SCRATCH, delete=False) as file:
        try:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o666 & ~_umask())
            os.replace(file.name, target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def atomic_write_bytes(target: Path, content: bytes | memoryview) -> None:
    """Replace a file atomically.

    Args:
        target: the file.
        content: its new bytes.
    """
    with atomic_write(target) as file:
        file.write(content)


def remove_leftovers(folder: Path) -> None:
    """Delete the unfinished files of killed processes; no other process writes into the folder."""
    for leftover in folder.glob(f"{_SCRATCH}*"):
        leftover.unlink(missing_ok=True)


@cache
def _umask() -> int:
    """The umask of this process. It can only be read by setting it, so it is read once."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Let this process alone use a folder within the block; the lock ends with the process that holds it.

    Raises:
        Conflict: another process uses the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".metseg.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise Conflict(f"Another metseg writes into {folder}; wait for its end, or name another --out.") from error
    try:
        yield
    finally:
        lock.release()
