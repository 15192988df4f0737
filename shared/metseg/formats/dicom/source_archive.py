"""The headers of a study's images as a file, so that results can be made after the study has been read."""

import json
from io import BytesIO
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from metseg.errors import MetsegError, ProcessingFailed
from metseg.formats.dicom.safe_read import translate_errors
from metseg.formats.dicom.source_headers import SourceImages
from metseg.imaging import Volume

__all__ = ["read_source_archive", "store_source"]

SOURCE_FILE = "source.zip"
PLACES = "places.json"
COMPRESSION_LEVEL = 1


def store_source(volume: Volume) -> dict[str, bytes]:
    """The headers of a study's images as a ZIP, by its name in the store; equal headers give equal bytes.

    Args:
        volume: read from DICOM; without the headers that results refer to there is no file.
    """
    origin = volume.origin
    if not isinstance(origin, SourceImages):
        return {}
    target = BytesIO()
    with ZipFile(target, "w") as archive:
        places = json.dumps({"numbers": origin.numbers, "indices": origin.indices})
        _add(archive, PLACES, places.encode())
        for index, header in enumerate(origin.headers):
            _add(archive, f"{index:05d}.dcm", _to_bytes(header))
    return {SOURCE_FILE: target.getvalue()}


def read_source_archive(stream: BinaryIO) -> SourceImages:
    """Read what `store_source` wrote.

    Args:
        stream: of the file from its start.

    Raises:
        ProcessingFailed: it is damaged.
    """
    content = BytesIO(stream.read())
    try:
        with translate_errors(), ZipFile(content) as archive:
            places = json.loads(archive.read(PLACES))
            names = sorted(name for name in archive.namelist() if name != PLACES)
            headers = tuple(dcmread(BytesIO(archive.read(name)), force=True) for name in names)
    except (BadZipFile, MetsegError) as error:
        raise ProcessingFailed.damaged_result() from error
    numbers = None if places["numbers"] is None else tuple(places["numbers"])
    return SourceImages(headers, numbers, tuple(places["indices"]))


def _add(archive: ZipFile, name: str, content: bytes) -> None:
    archive.writestr(ZipInfo(name), content, ZIP_DEFLATED, COMPRESSION_LEVEL)  # ZipInfo's date is fixed


def _to_bytes(header: Dataset) -> bytes:
    """In implicit VR and little endian, which has no limit for the length of a value."""
    target = DicomBytesIO()
    target.is_implicit_VR, target.is_little_endian = True, True
    write_dataset(target, header)
    return target.getvalue()
