"""What all read-only files have in common that are a stretch of something else."""

import errno
import io

__all__ = ["Seekable"]


class Seekable(io.RawIOBase):
    """A read-only file of known size with a position of its own; `readinto` is for who inherits.

    Args:
        size: in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._position = size, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move as any file does, with an OSError where that is before the start: zipfile tries that."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "the position is before the start")
        self._position = base + offset
        return self._position
