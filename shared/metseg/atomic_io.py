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

__all__ = ["SCRATCH", "atomic_write", "folder_lock"]

SCRATCH = ".~"
"""What the name of an unfinished file begins with."""


@contextmanager
def atomic_write(target: Path) -> Iterator[BinaryIO]:
    """A file to write, which replaces `target` at the end of the block, or is deleted if the block raises.

    What a killed process leaves behind has a name that begins with `.~`.
    """
    with NamedTemporaryFile(dir=target.parent, prefix=SCRATCH, delete=False) as file:
        try:
            yield cast(BinaryIO, file)
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).chmod(0o666 & ~_umask())
            os.replace(file.name, target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


@cache
def _umask() -> int:
    """Of this process. It can only be read by setting it, so it is read once."""
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
