"""File locks: processes of one run neither repeat work nor write a file concurrently."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from metseg.errors import TrainingFailed

__all__ = ["exclusive", "in_turn"]

LOCK_FILE = ".lock"


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Wait until no other process works in a folder; the lock ends with its holder."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK_FILE):
        yield


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Work in a folder unless another process does.

    Raises:
        TrainingFailed: another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise TrainingFailed(f"Another process works in {folder}; wait for it, or stop it.") from error
    try:
        yield
    finally:
        lock.release()
