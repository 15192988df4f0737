"""The pictures of a study's slices as one object: a ZIP that packs nothing, since a PNG is packed already.

A store pays for each object, whatever its size; who wants one slice fetches the directory and that slice alone.
"""

from collections.abc import Iterable
from typing import IO
from zipfile import BadZipFile, ZipFile

from metseg import formats
from metseg.errors import NotFound, ProcessingFailed

__all__ = ["PACK", "Pack", "packed"]

PACK = "slices.zip"
"""The artefact's name."""


def packed(pictures: Iterable[bytes]) -> bytes:
    """A pack of the pictures of a study's slices, in order; equal pictures give equal bytes."""
    return formats.packed((_name(index), picture) for index, picture in enumerate(pictures))


class Pack:
    """A pack as it is read.

    Args:
        file: of the pack.

    Raises:
        ProcessingFailed: it is damaged.
    """

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._archive = ZipFile(file)
        except BadZipFile as error:
            raise _damaged() from error

    def picture(self, index: int) -> bytes:
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
            raise _damaged() from error


def _name(index: int) -> str:
    return f"{index:04d}.png"


def _damaged() -> ProcessingFailed:
    return ProcessingFailed("A stored result is damaged; submit the study again.")
