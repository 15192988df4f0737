"""Checkpoints: written whole or not at all, and what the machine refuses put in words."""

import errno
import io
import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import torch

from metseg.errors import DiskFull, FolderVanished, OutOfMemory, TrainingFailed

__all__ = ["explained", "read", "write", "write_bytes"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MEMORY_WORDS = ("can't allocate memory", "out of memory", "insufficient shared memory", "killed by signal: Killed")
"""What torch says of memory in errors that have no class of their own; the last is a loader that the kernel ended."""


def write(content: Mapping[str, Any], path: Path) -> None:
    """Replace a checkpoint: whatever happens, the old one or the new one lies there whole."""
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    write_bytes(buffer.getbuffer(), path)


def write_bytes(content: bytes | memoryview, path: Path) -> None:
    """Replace a file: it is on the disk before it takes the place of the old one."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        TrainingFailed: the file is none of ours.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise TrainingFailed(f"The checkpoint {path} cannot be read; remove it to begin its network anew.") from error
    if not isinstance(content, dict) or "averaged" not in content:
        raise TrainingFailed(f"The checkpoint {path} is of another release; begin a run of another name.")
    return content


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Say what to do where the machine has run out of something; `folder` is written to."""
    then = f"What lies in {folder} is whole, and the same command with --resume goes on from there."
    try:
        yield
    except FileNotFoundError as error:
        raise FolderVanished(
            f"{error.filename or folder} has gone; bring it back, then go on with --resume."
        ) from error
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"The disk of {folder} is full; make room. {then}") from error
        raise TrainingFailed(f"{folder} cannot be written: {error.strerror or error}. {then}") from error
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not _is_of_memory(error):
            raise
        raise OutOfMemory(
            f"The memory is too small for this recipe; free some, or take a smaller one. {then}"
        ) from error


def _is_of_memory(error: MemoryError | RuntimeError | cv2.error) -> bool:
    if isinstance(error, cv2.error):
        return error.code == cv2.Error.StsNoMem
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in _MEMORY_WORDS)
