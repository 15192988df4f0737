"""The pixels of a stack: decoded file by file, rescaled, never larger than the headers told.

Every compressed syntax has one decoder, chosen here: Pillow for baseline JPEG, GDCM for extended and lossless JPEG,
CharLS for JPEG-LS, OpenJPEG for JPEG 2000, pydicom's own for RLE. A code stream names its own size, by which its
decoder allocates, so that is compared with the header first. Windows are for display and are not applied.
"""

from collections.abc import Iterator, Mapping
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from metseg.errors import UnreadableImage, UnsupportedFormat
from metseg.formats.dicom.instances import Frame, Instance
from metseg.formats.dicom.safe_read import legible
from metseg.formats.dicom.stacks import Stack

__all__ = ["SYNTAXES", "decode"]

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
DECODERS: Mapping[UID, str] = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "gdcm",  # of 8 bits; no decoder of a permissive licence is trusted with 12
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    RLELossless: "pydicom",
}
SYNTAXES = frozenset([*NATIVE, *DECODERS])
TAGS = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "FloatPixelData"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
DAMAGED = "The pixels of a DICOM file are damaged or cut off; export it again."
JPEG_START, J2K_SIZE = b"\xff\xd8", b"\xff\x4f\xff\x51"
FRAME_HEADERS = frozenset([*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7])
"""Markers of JPEG and JPEG-LS whose segment tells the size of the frame."""
MOST_MARKERS = 64

Pixels = npt.NDArray[Any]


def decode(stack: Stack) -> Pixels:
    """The values of a stack, (frame, row, column): as stored where nothing rescales them, else in float32.

    Raises:
        UnreadableImage: a file is damaged, or its pixels are of another size than its header tells.
        UnsupportedFormat: a syntax that none of the decoders knows.
    """
    values: Pixels | None = None
    for instance, places in _by_file(stack).items():
        for place, frame, stored in _stored(instance, places):
            if values is None:
                values = np.empty(stack.shape, _depth(stack, stored.dtype))
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused as not finite
                values[place] = _rescaled(stored, frame, instance.inverted, values.dtype)
    if values is None:
        raise UnreadableImage(DAMAGED)
    return values


def _by_file(stack: Stack) -> dict[Instance, list[tuple[int, Frame]]]:
    """The places in the stack that each file fills, so that each is opened once."""
    files: dict[Instance, list[tuple[int, Frame]]] = {}
    for place, member in enumerate(stack.members):
        files.setdefault(member.instance, []).append((place, member.frame))
    return files


def _stored(instance: Instance, places: list[tuple[int, Frame]]) -> Iterator[tuple[int, Frame, Pixels]]:
    if instance.syntax not in SYNTAXES:
        raise UnsupportedFormat("A DICOM file is compressed in a way that cannot be read; export it uncompressed.")
    with instance.file.open() as stream, legible(DAMAGED):
        found = dcmread(stream, specific_tags=list(TAGS))
        for place, frame in places:
            plugin = DECODERS.get(instance.syntax, "")
            if plugin:
                _check_coded(found, instance, frame)
            stored = pixel_array(found, index=frame.number, decoding_plugin=plugin)
            if stored.shape != (instance.rows, instance.columns):
                raise UnreadableImage(DAMAGED)
            yield place, frame, stored


def _depth(stack: Stack, stored: np.dtype[Any]) -> np.dtype[Any]:
    plain = all(member.frame.slope == 1 and member.frame.intercept == 0 for member in stack.members)
    inverted = any(member.instance.inverted for member in stack.members)
    same = stored in (np.uint8, np.uint16)
    return np.dtype(stored) if plain and same and not inverted else np.dtype(np.float32)


def _rescaled(stored: Pixels, frame: Frame, inverted: bool, depth: np.dtype[Any]) -> Pixels:
    if depth.kind != "f":
        return stored
    values = stored * frame.slope + frame.intercept
    return (-values if inverted else values).astype(depth)


def _check_coded(found: Dataset, instance: Instance, frame: Frame) -> None:
    """Refuse a code stream of another size than the header's."""
    if instance.syntax == RLELossless:
        return
    count = len(instance.frames)
    coded = get_frame(found.PixelData, frame.number, number_of_frames=count)
    size = _coded_size(coded)
    if size != (instance.rows, instance.columns):
        raise UnreadableImage(DAMAGED)
    if instance.syntax == JPEGExtended12Bit and int(found.get("BitsStored") or 0) != 8:
        raise UnsupportedFormat("A DICOM file is compressed as JPEG of 12 bits, which cannot be read; decompress it.")


def _coded_size(coded: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 code stream tells of itself."""
    if coded.startswith(JPEG_START):
        return _jpeg_size(coded)
    start = coded.find(J2K_SIZE, 0, 4096)  # within a JP2 file, boxes lie before it
    if start < 0 or len(coded) < start + 24:
        return None
    columns, rows, left, top = (int.from_bytes(coded[start + at : start + at + 4]) for at in (8, 12, 16, 20))
    return rows - top, columns - left


def _jpeg_size(coded: bytes) -> tuple[int, int] | None:
    stream = BytesIO(coded)
    stream.seek(2)
    for _ in range(MOST_MARKERS):
        marker = stream.read(4)
        if len(marker) < 4 or marker[0] != 0xFF:
            return None
        if marker[1] in FRAME_HEADERS:
            segment = stream.read(5)
            return int.from_bytes(segment[1:3]), int.from_bytes(segment[3:5])
        stream.seek(int.from_bytes(marker[2:4]) - 2, 1)
    return None
