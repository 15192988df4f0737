"""The rendered slices of a study as one object: a ZIP of PNGs, stored without further compression.

A store charges for each object, whatever its size. A reader of one slice fetches the ZIP's directory and that slice.
"""

from collections.abc import Iterable
from typing import IO, BinaryIO
from zipfile import BadZipFile, ZipFile

from metseg import formats
from metseg.errors import NotFound, ProcessingFailed

__all__ = ["SLICE_ARCHIVE", "SliceArchive", "write_slice_archive"]

SLICE_ARCHIVE = "slices.zip"
"""The artefact's name."""


def write_slice_archive(pngs: Iterable[bytes], target: BinaryIO) -> None:
    """Write an archive of the slices of a study; equal slices give equal bytes.

    Args:
        pngs: in order.
        target: where the archive is written; it has to be seekable.
    """
    formats.write_zip(((_name(index), png) for index, png in enumerate(pngs)), target)


class SliceArchive:
    """Reads an archive.

    Args:
        file: the archive, seekable.

    Raises:
        ProcessingFailed: it is damaged.
    """

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._archive = ZipFile(file)
        except BadZipFile as error:
            raise ProcessingFailed.damaged_result() from error

    def read_slice(self, index: int) -> bytes:
        """The PNG of a slice; the first is 0.

        Raises:
            NotFound: there is no such slice.
            ProcessingFailed: it is damaged.
        """
        try:
            return self._archive.read(_name(index))
        except KeyError as error:
            raise NotFound(f"There is no slice {index}.") from error
        except (BadZipFile, EOFError) as error:
            raise ProcessingFailed.damaged_result() from error


def _name(index: int) -> str:
    return f"{index:04d}.png"
