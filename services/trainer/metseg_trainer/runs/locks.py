"""Turns: processes of one run do no work twice and write no file at once."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metseg.errors import TrainingFailed

__all__ = ["alone", "in_turn"]


@contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Work in a folder when no other process does; one that ends, however it does, lets the next one in."""
    with _held(folder) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Work in a folder unless another process does.

    Raises:
        TrainingFailed: one does.
    """
    with _held(folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingFailed(f"Another process works in {folder}; let it end, or stop it.") from error
        yield


@contextmanager
def _held(folder: Path) -> Iterator[int]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
