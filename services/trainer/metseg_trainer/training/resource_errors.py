"""A full disk, a missing folder, too little memory: system errors, translated into errors that say what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import torch

from metseg.errors import DiskFull, FolderVanished, OutOfMemory, TrainingFailed

__all__ = ["resource_errors_translated"]

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OUT_OF_MEMORY = (
    "can't allocate memory", "out of memory", "insufficient shared memory", "killed by signal: Killed",
)  # fmt: skip
"""Messages of torch's errors without a class; the last is of a data loader killed by the kernel."""


@contextmanager
def resource_errors_translated(folder: Path) -> Iterator[None]:
    """Translate errors of the system, torch and OpenCV.

    Args:
        folder: to which the block writes.

    Raises:
        DiskFull: the disk is full.
        FolderVanished: a folder or file is gone.
        OutOfMemory: the memory of the machine or of the GPU is too small.
        TrainingFailed: the folder cannot be written.
    """
    resume = f"The files in {folder} are complete; the same command with --resume continues from there."
    try:
        yield
    except FileNotFoundError as error:
        raise FolderVanished(
            f"{error.filename or folder} has gone; restore it, then continue with --resume."
        ) from error
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DiskFull(f"The disk of {folder} is full; free some space. {resume}") from error
        raise TrainingFailed(f"{folder} cannot be written: {error.strerror or error}. {resume}") from error
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not _is_of_memory(error):
            raise
        raise OutOfMemory(
            f"The memory is too small for this configuration; free some, or choose a smaller one. {resume}"
        ) from error


def _is_of_memory(error: MemoryError | RuntimeError | cv2.error) -> bool:
    if isinstance(error, cv2.error):
        return error.code == cv2.Error.StsNoMem
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        words in str(error) for words in _OUT_OF_MEMORY
    )
