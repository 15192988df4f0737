"""ZIP: one patient's slices in an archive that may be hostile.

Nothing is ever extracted to a path. An archive is judged by its directory first: names, folders, declared
sizes. Then each member is unpacked in chunks whose sum is counted, whatever the directory declared.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import SEEK_END
from pathlib import PurePosixPath
from struct import error as StructError
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from metseg.errors import ArchiveBomb, BadArchive, SeveralPatients, TooManyFiles
from metseg.formats.names import is_system_file, natural_key
from metseg.settings import MIB, Limits

__all__ = ["Archive", "check_one_folder"]

# What zipfile raises for damaged bytes; RuntimeError and NotImplementedError are its words for what it lacks.
DAMAGE = (BadZipFile, OSError, EOFError, ValueError, RuntimeError, IndexError, StructError, zlib.error)

CHUNK_BYTES = MIB
IN_MEMORY_BYTES = 16 * MIB
HARMLESS_BYTES = 256 * MIB  # below it, the ratio does not matter: black slices and label maps pack to almost nothing
DIRECTORY_BYTES_PER_FILE = 4096
LEAST_BYTES_AT_ONCE = 2**17  # zipfile seeks the directory's end in the last 64 KiB
ENCRYPTED = 0x1
DRIVE = re.compile("[A-Za-z]:")


class Archive:
    """The files in a ZIP.

    Attributes:
        names: of the files with their folders, in natural order.

    Raises:
        BadArchive: damaged, empty, encrypted, or with names that lead outside.
        TooManyFiles: more members than allowed.
        ArchiveBomb: it would expand beyond the limits.
    """

    def __init__(self, stream: BinaryIO, limits: Limits) -> None:
        self._limits = limits
        self._unpacked_bytes: dict[int, int] = {}
        try:
            self._zip = ZipFile(cast(IO[bytes], _Frugal(stream, limits.members * DIRECTORY_BYTES_PER_FILE)))
        except DAMAGE as error:
            raise BadArchive("The archive is damaged or cut off; zip the slices again.") from error
        members = [(info.filename.replace("\\", "/"), info) for info in self._zip.infolist()]
        for name, info in members:
            _check_safe(name, info)
        files = [
            (name, info)
            for name, info in members
            if not name.endswith("/") and not any(map(is_system_file, PurePosixPath(name).parts))
        ]
        if not files:
            raise BadArchive("The archive holds no file; zip the slices of one patient.")
        self._check_weight(len(files), stream)
        files.sort(key=lambda file: natural_key(file[0]))
        self.names = [name for name, _ in files]
        self._infos = [info for _, info in files]

    def head(self, index: int, most: int) -> bytes:
        """The first bytes of the member `names[index]`, without unpacking the rest.

        Raises:
            BadArchive: it is damaged.
        """
        try:
            with self._zip.open(self._infos[index]) as member:
                return member.read(most)
        except DAMAGE as error:
            raise _damaged() from error

    @contextmanager
    def open(self, index: int) -> Iterator[BinaryIO]:
        """The member `names[index]`, unpacked so that it can be read in any order.

        Raises:
            BadArchive: it is damaged.
            ArchiveBomb: all members opened so far are larger than allowed together.
        """
        self._unpacked_bytes[index] = 0
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as unpacked:
            for chunk in self._chunks(self._infos[index]):
                self._unpacked_bytes[index] += len(chunk)
                if sum(self._unpacked_bytes.values()) > self._limits.expanded_bytes:
                    raise _bomb(self._limits.expanded_bytes)
                unpacked.write(chunk)
            unpacked.seek(0)
            yield cast(BinaryIO, unpacked)

    def _chunks(self, info: ZipInfo) -> Iterator[bytes]:
        try:
            with self._zip.open(info) as member:
                while chunk := member.read(CHUNK_BYTES):
                    yield chunk
        except DAMAGE as error:
            raise _damaged() from error

    def _check_weight(self, files: int, stream: BinaryIO) -> None:
        """Refuse what is too much by the archive's own directory."""
        if files > self._limits.members:
            raise TooManyFiles(
                f"The archive holds {files} files, {self._limits.members} are allowed; submit one study."
            )
        declared = sum(info.file_size for info in self._zip.infolist())
        if declared > self._limits.expanded_bytes:
            raise _bomb(self._limits.expanded_bytes)
        packed = stream.seek(0, SEEK_END)
        if declared > max(HARMLESS_BYTES, packed * self._limits.expansion_ratio):
            raise ArchiveBomb(
                f"The archive expands to more than {self._limits.expansion_ratio} times its size; "
                "zip the slices as they are."
            )


class _Frugal:
    """A stream that hands out no more than `most` bytes at once: zipfile reads a whole directory into memory."""

    def __init__(self, stream: BinaryIO, most: int) -> None:
        self._stream = stream
        self._most = max(most, LEAST_BYTES_AT_ONCE)
        self.seek = stream.seek
        self.tell = stream.tell
        self.seekable = stream.seekable

    def read(self, size: int = -1) -> bytes:
        """As of any stream.

        Raises:
            TooManyFiles: more bytes would come than allowed.
        """
        data = self._stream.read(size if 0 <= size <= self._most else self._most + 1)
        if len(data) > self._most:
            raise TooManyFiles("The archive lists far more files than allowed; submit one study at a time.")
        return data


def _damaged() -> BadArchive:
    return BadArchive("A file in the archive is damaged; zip the slices again.")


def _bomb(most: int) -> ArchiveBomb:
    return ArchiveBomb(f"The archive expands to more than the {most // MIB} MiB allowed; submit fewer slices.")


def _check_safe(name: str, info: ZipInfo) -> None:
    if not name or name.startswith("/") or ".." in name.split("/") or DRIVE.match(name):
        raise BadArchive("The archive names a file outside itself; zip the slices' folder again.")
    if info.flag_bits & ENCRYPTED:
        raise BadArchive("The archive is encrypted; zip the slices without a password.")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise BadArchive("The archive is packed by a rare method; zip the slices by the usual one, deflate.")


def check_one_folder(names: Sequence[str]) -> None:
    """Refuse slices that lie in several folders.

    Raises:
        SeveralPatients: they do, as those of several patients would.
    """
    folders = {PurePosixPath(name).parent for name in names}
    if len(folders) > 1:
        raise SeveralPatients(
            f"The archive holds files in {len(folders)} folders, as if of several patients; submit each patient's "
            "folder on its own."
        )
