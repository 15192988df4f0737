"""A study as its headers tell it, and how a format of volumes plugs in.

Slices as pictures are one kind of study (`slices`); a format of volumes is another. To add one:

1. `sniff` learns to tell its files by their content, as a `Kind`.
2. A module of its own here has a function `study(files, limits) -> Study`, named in `VOLUMES` of this package under
   that kind. It gets every file of the upload, those inside a ZIP too, and takes them for hostile: it reads headers
   alone, and refuses by them what `Limits` do not allow, before anything of that size is allocated. The gateway
   calls just this; the worker goes on to `Study.read`.
3. `Study.read` reads each sequence into a `channels.Scan`, already in our order by a `grid.Grid`, and leaves the
   rest to `channels.assemble`: the three channels, stand-ins for missing ones, resampling, registration, warnings.

A `File` may be of a kind that the format does not know, or of none that metseg does (a README in a ZIP): the format
says whether it leaves these out, and then warns of it, or refuses the study.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from os import SEEK_END
from typing import BinaryIO, NamedTuple, Protocol

from metseg.contracts import Align, Role
from metseg.errors import (
    BadArchive,
    EmptyUpload,
    InvalidParameter,
    SeveralPatients,
    TooManyFiles,
    UploadTooLarge,
)
from metseg.formats.archive import Archive
from metseg.formats.sniff import HEAD_BYTES, Kind, kind_of
from metseg.imaging import Volume
from metseg.settings import MIB, Limits

__all__ = ["File", "Opener", "Study", "Upload", "check_alone", "check_weight", "files", "rewound"]

Opener = Callable[[], AbstractContextManager[BinaryIO]]


class Upload(NamedTuple):
    """One uploaded file.

    Attributes:
        name: as the user called it; orders the slices and names the results, decides nothing else.
        stream: seekable; its position does not matter and is moved.
        role: which of the study's series it belongs to; None where the study is one series.
    """

    name: str
    stream: BinaryIO
    role: Role | None = None


class File(NamedTuple):
    """A file of a study of volumes, uploaded on its own or inside a ZIP.

    Attributes:
        name: as the user called it, with its folders in the ZIP; may name a patient, so it is never told.
        kind: by its content; None where it is none that metseg knows.
        role: as uploaded; None where the name or the content has to tell.
        open: a context manager of the content, seekable, at its start.
    """

    name: str
    kind: Kind | None
    role: Role | None
    open: Opener


class Study(Protocol):
    """One study whose headers are read and found good."""

    @property
    def source(self) -> str:
        """As of `Volume`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the volume that `read` will give."""

    def read(self, align: Align, threads: int) -> Volume:
        """The pixels.

        Args:
            align: what to do with sequences on different grids: `rigid` registers them, `none` trusts their headers.
            threads: that may be used.

        Raises:
            BadInput: damage that headers do not show.
        """


def check_weight(uploads: Sequence[Upload], limits: Limits) -> None:
    """Refuse what is too much or nothing, or has roles in part.

    Raises:
        EmptyUpload: no file, or one without bytes.
        TooManyFiles: more than allowed.
        UploadTooLarge: more bytes than allowed.
        InvalidParameter: some files have a role and some have none.
    """
    if not uploads:
        raise EmptyUpload("No file was sent; choose one or more.")
    if len(uploads) > limits.files:
        raise TooManyFiles(f"{len(uploads)} files were sent, {limits.files} are allowed; send the slices in one ZIP.")
    sizes = [upload.stream.seek(0, SEEK_END) for upload in uploads]
    if not all(sizes):
        raise EmptyUpload("A file has no bytes; export it again.")
    if sum(sizes) > limits.upload_bytes:
        raise UploadTooLarge(f"The upload is larger than the {limits.upload_bytes // MIB} MiB allowed.")
    if len({upload.role is None for upload in uploads}) > 1:
        raise InvalidParameter("Some files have a role and some have none; send all of them either way.")


def files(uploads: Sequence[Upload], limits: Limits) -> list[File]:
    """Every file of a study, those in a ZIP in its place; told by their first bytes.

    Raises:
        BadArchive: an archive is damaged, or was sent beside other files of its series.
        SeveralPatients: several archives were sent for one series.
    """
    found = []
    for role in dict.fromkeys(upload.role for upload in uploads):
        series = [upload for upload in uploads if upload.role == role]
        loose = [File(one.name, kind_of(_head(one.stream)), role, partial(rewound, one.stream)) for one in series]
        packed = [one for one, file in zip(series, loose, strict=True) if file.kind == "zip"]
        if packed:
            check_alone(len(packed), len(series))
            archive = Archive(packed[0].stream, limits)
            loose = [
                File(name, kind_of(archive.head(index, HEAD_BYTES)), role, partial(archive.open, index))
                for index, name in enumerate(archive.names)
            ]
        found += loose
    return found


def check_alone(archives: int, uploads: int) -> None:
    """Refuse an archive that is not all of its series.

    Raises:
        SeveralPatients: there are several.
        BadArchive: there are other files.
    """
    if archives == uploads > 1:
        raise SeveralPatients("Several archives were sent; submit each patient's archive on its own.")
    if uploads > 1:
        raise BadArchive("An archive was sent beside other files; send the archive alone.")


@contextmanager
def rewound(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The stream at its start, and there again afterwards."""
    stream.seek(0)
    yield stream
    stream.seek(0)


def _head(stream: BinaryIO) -> bytes:
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    return head
