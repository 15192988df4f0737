"""The files of a study, and how a format of volumes plugs in.

Slices as images are one kind of study (`raster`); a format of volumes is another. To add one:

1. `sniff` detects its files by their content, as a `Kind`.
2. A package here, like `volumes`, has a function `open_study(files, limits, stated) -> StudyReader`, which
   `VOLUME_READERS` in `reader` lists under that kind. It receives every file of the upload, including those inside a
   ZIP, and treats them as hostile: it reads headers only and refuses what `Limits` do not allow, before anything of
   that size is allocated. The gateway stops there; the worker goes on to `StudyReader.read_volume`.
3. `read_volume` reads each sequence into a `sequences.SequenceImage`, in canonical order (`imaging.orientation`), and
   leaves the rest to `sequences.assemble_volume`: the three channels, substitutes for missing ones, registration,
   resampling, warnings.

A `StudyFile` may be of a kind that the format does not know, or of none that metseg knows (a README in a ZIP): the
format either leaves it out with a warning or refuses the study.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date
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
from metseg.formats.sniff import HEAD_BYTES, Kind, detect_kind
from metseg.imaging import StudySize, Volume
from metseg.settings import MIB, Limits

__all__ = [
    "UNKNOWN_SUBJECT",
    "Opener",
    "StudyFile",
    "StudyReader",
    "Subject",
    "Upload",
    "check_single_archive",
    "check_upload",
    "list_files",
    "rewind",
]

Opener = Callable[[], AbstractContextManager[BinaryIO]]


class Upload(NamedTuple):
    """One uploaded file.

    Attributes:
        name: given by the user; orders the slices and names the results, decides nothing else.
        stream: seekable; its position does not matter and changes.
        role: which of the study's series it belongs to; None where the study is one series.
    """

    name: str
    stream: BinaryIO
    role: Role | None = None


class StudyFile(NamedTuple):
    """A file of a study of volumes, uploaded on its own or inside a ZIP.

    Attributes:
        name: given by the user, with its folders in the ZIP; may name a patient, so it appears in no message.
        kind: by its content; None where it is none that metseg knows.
        role: as uploaded; None where the name or the content decides.
        open: a context manager of the content, seekable, at its start.
    """

    name: str
    kind: Kind | None
    role: Role | None
    open: Opener


class Subject(NamedTuple):
    """Whose study it is, and of which day, where headers say so: only those of DICOM do.

    Attributes:
        patient_id: with its issuer; an identity, which is neither stored nor logged as it is. Empty where unknown.
        taken_on: None where unknown.
    """

    patient_id: str = ""
    taken_on: date | None = None


UNKNOWN_SUBJECT = Subject()


class StudyReader(Protocol):
    """Reads one study, whose headers have been read and accepted."""

    @property
    def subject(self) -> Subject:
        """Whose study it is."""

    @property
    def source(self) -> str:
        """See `Volume`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the volume that `read_volume` returns."""

    @property
    def size(self) -> StudySize:
        """What decides how much memory the study takes."""

    def read_volume(self, align: Align, threads: int) -> Volume:
        """Read the pixels.

        Args:
            align: what to do with sequences on different grids: `rigid` registers them, `none` trusts their headers.
            threads: that may be used.

        Returns:
            The study on the grid of its reference sequence.

        Raises:
            BadInput: damage that headers do not show.
        """


def check_upload(uploads: Sequence[Upload], limits: Limits) -> None:
    """Refuse an upload that is empty, too large, or has roles for some of its files only.

    Args:
        uploads: of the study.
        limits: of one submission.

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


def list_files(uploads: Sequence[Upload], limits: Limits) -> list[StudyFile]:
    """List every file of a study, the members of a ZIP in place of the ZIP.

    Args:
        uploads: of the study.
        limits: of one submission.

    Returns:
        The files in the order of the uploads, each with the kind that its first bytes show.

    Raises:
        BadArchive: an archive is damaged, or was sent with other files of its series.
        SeveralPatients: several archives were sent for one series.
    """
    found = []
    for role in dict.fromkeys(upload.role for upload in uploads):
        series = [upload for upload in uploads if upload.role == role]
        files = [
            StudyFile(one.name, detect_kind(_peek(one.stream)), role, partial(rewind, one.stream)) for one in series
        ]
        archives = [one for one, file in zip(series, files, strict=True) if file.kind == "zip"]
        if archives:
            check_single_archive(len(archives), len(series))
            archive = Archive(archives[0].stream, limits)
            files = [
                StudyFile(name, detect_kind(archive.peek(index, HEAD_BYTES)), role, partial(archive.open, index))
                for index, name in enumerate(archive.names)
            ]
        found += files
    return found


def check_single_archive(archives: int, uploads: int) -> None:
    """Refuse several archives, or an archive with other files, for one series.

    Args:
        archives: how many of the series' uploads are archives.
        uploads: of the series.

    Raises:
        SeveralPatients: there are several archives.
        BadArchive: there are other files.
    """
    if archives == uploads > 1:
        raise SeveralPatients("Several archives were sent; submit each patient's archive separately.")
    if uploads > 1:
        raise BadArchive("An archive was sent with other files; send only the archive.")


@contextmanager
def rewind(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The stream at its start, and there again afterwards."""
    stream.seek(0)
    yield stream
    stream.seek(0)


def _peek(stream: BinaryIO) -> bytes:
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    return head
