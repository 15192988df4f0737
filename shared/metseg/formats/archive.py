"""ZIP: one patient's slices in an archive that may be hostile.

Nothing is ever extracted to a path. An archive is checked by its directory first: names, folders, declared sizes. Then
each member is decompressed in chunks whose sum is counted, whatever the directory declared.
"""

import re
import zlib
from collections import Counter
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

__all__ = ["Archive", "check_one_scan"]

# What zipfile raises for damaged bytes; RuntimeError and NotImplementedError for features that it lacks.
DAMAGE = (BadZipFile, OSError, EOFError, ValueError, RuntimeError, IndexError, StructError, zlib.error)

CHUNK_BYTES = MIB
IN_MEMORY_BYTES = 16 * MIB
MIN_SUSPECT_BYTES = 256 * MIB  # below it, the ratio does not matter: black slices compress to almost nothing
DIRECTORY_BYTES_PER_FILE = 4096
DIRECTORY_ENTRY = b"PK\x01\x02"
ENTRIES_PER_FILE = 3  # a folder, and what macOS adds
MIN_READ_BYTES = 2**17  # zipfile seeks the directory's end in the last 64 KiB
ENCRYPTED = 0x1
DRIVE = re.compile("[A-Za-z]:")
NUMBER_AT_END = re.compile(r"[0-9]+\)?$")


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
        self._decompressed_bytes: dict[int, int] = {}
        bounded = _BoundedStream(stream, limits.members)
        try:
            self._zip = ZipFile(cast(IO[bytes], bounded))
            bounded.max_entries = None
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
        self._check_declared_size(len(files), stream)
        files.sort(key=lambda file: natural_key(file[0]))
        self.names = [name for name, _ in files]
        self._infos = [info for _, info in files]

    def peek(self, index: int, max_bytes: int) -> bytes:
        """Read the first bytes of a member without decompressing the rest.

        Args:
            index: of the member in `names`.
            max_bytes: how many.

        Returns:
            As many bytes as asked for, or all where the member is shorter.

        Raises:
            BadArchive: it is damaged.
        """
        try:
            with self._zip.open(self._infos[index]) as member:
                return member.read(max_bytes)
        except DAMAGE as error:
            raise _damaged() from error

    @contextmanager
    def open(self, index: int) -> Iterator[BinaryIO]:
        """The member `names[index]`, decompressed so that it is seekable.

        Raises:
            BadArchive: it is damaged.
            ArchiveBomb: all members opened so far are larger than allowed together.
        """
        self._decompressed_bytes[index] = 0
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as decompressed:
            for chunk in self._chunks(self._infos[index]):
                self._decompressed_bytes[index] += len(chunk)
                if sum(self._decompressed_bytes.values()) > self._limits.expanded_bytes:
                    raise _bomb(self._limits.expanded_bytes)
                decompressed.write(chunk)
            decompressed.seek(0)
            yield cast(BinaryIO, decompressed)

    def _chunks(self, info: ZipInfo) -> Iterator[bytes]:
        try:
            with self._zip.open(info) as member:
                while chunk := member.read(CHUNK_BYTES):
                    yield chunk
        except DAMAGE as error:
            raise _damaged() from error

    def _check_declared_size(self, files: int, stream: BinaryIO) -> None:
        """Refuse an archive whose directory declares too much."""
        if files > self._limits.members:
            raise TooManyFiles(
                f"The archive holds {files} files, {self._limits.members} are allowed; submit one study."
            )
        declared = sum(info.file_size for info in self._zip.infolist())
        if declared > self._limits.expanded_bytes:
            raise _bomb(self._limits.expanded_bytes)
        compressed = stream.seek(0, SEEK_END)
        if declared > max(MIN_SUSPECT_BYTES, compressed * self._limits.expansion_ratio):
            raise ArchiveBomb(
                f"The archive expands to more than {self._limits.expansion_ratio} times its size; "
                "zip the slices as they are."
            )


class _BoundedStream:
    """A stream that bounds a directory: zipfile reads it in one call, then makes an object for each entry.

    Args:
        stream: the archive.
        members: that it may have.

    Attributes:
        max_entries: of a directory in what one call reads; None: no directory is being read.
    """

    def __init__(self, stream: BinaryIO, members: int) -> None:
        self._stream = stream
        self._max_bytes = max(members * DIRECTORY_BYTES_PER_FILE, MIN_READ_BYTES)
        self.max_entries: int | None = members * ENTRIES_PER_FILE
        self.seek = stream.seek
        self.tell = stream.tell
        self.seekable = stream.seekable

    def read(self, size: int = -1) -> bytes:
        """Read as from any stream.

        Raises:
            TooManyFiles: more bytes would be returned, or a directory of more entries, than allowed.
        """
        data = self._stream.read(size if 0 <= size <= self._max_bytes else self._max_bytes + 1)
        entries = 0 if self.max_entries is None else data.count(DIRECTORY_ENTRY)
        if len(data) > self._max_bytes or entries > (self.max_entries or 0):
            raise TooManyFiles("The archive lists far more files than allowed; submit one study at a time.")
        return data


def _damaged() -> BadArchive:
    return BadArchive("A file in the archive is damaged; zip the slices again.")


def _bomb(max_bytes: int) -> ArchiveBomb:
    return ArchiveBomb(f"The archive expands to more than the {max_bytes // MIB} MiB allowed; submit fewer slices.")


def _check_safe(name: str, info: ZipInfo) -> None:
    if not name or name.startswith("/") or ".." in name.split("/") or DRIVE.match(name):
        raise BadArchive("The archive names a file outside itself; zip the slices' folder again.")
    if info.flag_bits & ENCRYPTED:
        raise BadArchive("The archive is encrypted; zip the slices without a password.")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise BadArchive("The archive is compressed by a rare method; zip the slices with the usual one, deflate.")


def check_one_scan(names: Sequence[str]) -> None:
    """Refuse slices in several folders, or with names numbered in several series.

    Raises:
        SeveralPatients: there are several, as if of several patients.
    """
    folders = {PurePosixPath(name).parent for name in names}
    if len(folders) > 1:
        raise SeveralPatients(
            f"The upload holds files in {len(folders)} folders, as if of several patients; submit each patient's "
            "folder separately."
        )
    stems = [PurePosixPath(name).stem.casefold() for name in names]
    numbered = Counter(NUMBER_AT_END.sub("", stem) for stem in stems if NUMBER_AT_END.search(stem))
    scans = sum(count > 1 for count in numbered.values())
    if scans > 1:
        raise SeveralPatients(
            f"The names of the slices are numbered in {scans} series, as if of several patients; submit each scan "
            "separately, or each series of a patient in its field pre, flair or post."
        )
