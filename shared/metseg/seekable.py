"""The base of read-only files that are a part of something else."""

import errno
import io

__all__ = ["Seekable"]


class Seekable(io.RawIOBase):
    """A read-only file of known size; subclasses implement `readinto`.

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
        """Move the position.

        Args:
            offset: bytes.
            whence: what the offset is relative to, as in `io`.

        Returns:
            The new position.

        Raises:
            OSError: it would be before the start, which zipfile tries.
        """
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "the position is before the start")
        self._position = base + offset
        return self._position
