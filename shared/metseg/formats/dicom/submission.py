"""De-identifies a submission: every MR image of an upload, without the other files."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from metseg.contracts import Role
from metseg.errors import InvalidParameter, UnsupportedFormat
from metseg.formats.dicom.deidentify import Pseudonyms, deidentify
from metseg.formats.dicom.instances import Instance, read_instance
from metseg.formats.study import StudyFile, Upload, check_upload, list_files
from metseg.settings import Limits

__all__ = ["deidentify_uploads"]

COMPRESSION_LEVEL = 1  # of deflate: higher ones compress pixels little better


@contextmanager
def deidentify_uploads(uploads: Sequence[Upload], limits: Limits) -> Iterator[list[Upload]]:
    """De-identify the MR images of an upload.

    File names become numbers. Files that are not MR images are dropped, since they may show or hold anything.

    Args:
        uploads: of the study.
        limits: of one submission.

    Yields:
        A ZIP for each role, open for the length of the block.

    Raises:
        InvalidParameter: there is no DICOM file.
        UnsupportedFormat: there is no MR image.
        BadInput: one of its subclasses, as when the study is read.
    """
    check_upload(uploads, limits)
    files = [file for file in list_files(uploads, limits) if file.kind == "dicom"]
    if not files:
        raise InvalidParameter("`deidentify` is for DICOM, and the upload holds none; send it without that field.")
    pseudonyms, archives = Pseudonyms(), []
    with ExitStack() as stack:
        for role in dict.fromkeys(file.role for file in files):
            archive = cast(BinaryIO, stack.enter_context(TemporaryFile(prefix="metseg-upload-")))
            if _write_archive([file for file in files if file.role == role], archive, limits, pseudonyms):
                archives.append(Upload(_name(role), archive, role))
        if not archives:
            raise UnsupportedFormat("The DICOM files contain no MR image; send the MR series of the head.")
        yield archives


def _write_archive(files: Sequence[StudyFile], target: BinaryIO, limits: Limits, pseudonyms: Pseudonyms) -> int:
    """Write the MR images among the files into a ZIP; returns their number."""
    count = 0
    with ZipFile(target, "w", ZIP_DEFLATED, compresslevel=COMPRESSION_LEVEL) as archive:
        for file in files:
            instance = read_instance(file, limits)
            if not isinstance(instance, Instance):
                continue
            count += 1
            entry = ZipInfo(f"{count:04}.dcm")
            entry.compress_type = ZIP_DEFLATED
            with instance.file.open() as source, archive.open(entry, "w", force_zip64=True) as output:
                deidentify(source, cast(BinaryIO, output), pseudonyms)
    return count


def _name(role: Role | None) -> str:
    return f"{role or 'study'}.zip"
