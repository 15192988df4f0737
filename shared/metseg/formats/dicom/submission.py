"""A submission without identities: every MR image of an upload de-identified, everything else left behind."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import BinaryIO, cast
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from metseg.contracts import Role
from metseg.errors import InvalidParameter, UnsupportedFormat
from metseg.formats.dicom.deidentify import Pseudonyms, deidentify
from metseg.formats.dicom.instances import Instance, read_instance
from metseg.formats.study import File, Upload, check_weight, files
from metseg.settings import Limits

__all__ = ["deidentified"]

PACKED = 1  # the level of deflate: pixels pack little better at a higher one
EPOCH = (1980, 1, 1, 0, 0, 0)


@contextmanager
def deidentified(uploads: Sequence[Upload], limits: Limits) -> Iterator[list[Upload]]:
    """The MR images of an upload without identities, for the length of the block: a ZIP for each role.

    Names of files become numbers. What is no MR image is not kept: it may show or hold anything.

    Raises:
        InvalidParameter: there is no DICOM file.
        UnsupportedFormat: there is no MR image.
        BadInput: one of its kinds, as of reading the study.
    """
    check_weight(uploads, limits)
    found = [file for file in files(uploads, limits) if file.kind == "dicom"]
    if not found:
        raise InvalidParameter("`deidentify` is for DICOM, and the upload holds none; send it without that field.")
    pseudonyms, kept = Pseudonyms(), []
    with ExitStack() as stack:
        for role in dict.fromkeys(file.role for file in found):
            packed = cast(BinaryIO, stack.enter_context(TemporaryFile(prefix="metseg-upload-")))
            if _pack([file for file in found if file.role == role], packed, limits, pseudonyms):
                kept.append(Upload(_name(role), packed, role))
        if not kept:
            raise UnsupportedFormat("The DICOM files hold no MR image; send the MR series of the head.")
        yield kept


def _pack(found: Sequence[File], packed: BinaryIO, limits: Limits, pseudonyms: Pseudonyms) -> int:
    """Write the images among the files into a ZIP; how many they are."""
    count = 0
    with ZipFile(packed, "w", ZIP_DEFLATED, compresslevel=PACKED) as archive:
        for file in found:
            if not isinstance(read_instance(file, limits), Instance):
                continue
            count += 1
            entry = ZipInfo(f"{count:04}.dcm", EPOCH)
            entry.compress_type = ZIP_DEFLATED
            with file.open() as source, archive.open(entry, "w", force_zip64=True) as target:
                deidentify(source, cast(BinaryIO, target), pseudonyms)
    return count


def _name(role: Role | None) -> str:
    return f"{role or 'study'}.zip"
