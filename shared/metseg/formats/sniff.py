"""The kind of a file by its first bytes, whatever its name says."""

import re
import struct
import zlib
from typing import BinaryIO, Literal

from metseg.errors import UnsupportedFormat

__all__ = ["HEAD_BYTES", "Kind", "detect_kind", "detect_kind_of_stream"]

Kind = Literal["png", "jpeg", "tiff", "zip", "nifti", "nrrd", "metaimage", "dicom"]

MAGIC: dict[bytes, Kind] = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"II+\x00": "tiff",
    b"MM\x00+": "tiff",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"NRRD000": "nrrd",
}
METAIMAGE = re.compile(rb"(?:[A-Za-z]\w*[ \t]*=[^\n]*\n)*?NDims[ \t]*=")
"""A MetaImage header has no magic number: lines of `Name = value`, the number of axes among the first."""
HEAD_BYTES = 4096
NIFTI_HEAD_BYTES = 348
MIN_ELEMENTS = 3
LONG_VRS = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"UC", b"UR")
SHORT_VRS = (b"UI", b"UL", b"US", b"CS", b"DA", b"TM", b"DT", b"SH", b"LO", b"AE", b"PN", b"IS", b"DS", b"ST", b"LT")
FOREIGN = {
    b"\x00\x00\x00\x01": "a FreeSurfer volume (.mgz, .mgh): convert it to NIfTI (mri_convert)",
    b"BZh": "compressed by bzip2: decompress it, or compress it by gzip",
    b"BM": "a BMP image: save it as PNG",
    b"7z\xbc\xaf": "a 7z archive: send a ZIP",
    b"Rar!": "a RAR archive: send a ZIP",
}
SUPPORTED = "metseg reads PNG, JPEG and TIFF slices, DICOM series, NIfTI, NRRD and MetaImage volumes and a ZIP of them"


def detect_kind_of_stream(stream: BinaryIO) -> Kind:
    """The kind of the file in a stream, which is rewound.

    Raises:
        UnsupportedFormat: metseg does not read this kind.
    """
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    kind = detect_kind(head)
    if kind is not None:
        return kind
    if foreign := _foreign_kind(head):
        raise UnsupportedFormat(f"A file is {foreign}; {SUPPORTED}.")
    raise UnsupportedFormat(f"The content of a file is in no supported format, whatever its name; {SUPPORTED}.")


def detect_kind(head: bytes) -> Kind | None:
    """The kind of a file that begins with these `HEAD_BYTES` bytes; None where metseg does not read it."""
    if (
        head[128:132] == b"DICM"
    ):  # first, since anything may stand before it: a slide scanner writes a TIFF header there
        return "dicom"
    for magic, kind in MAGIC.items():
        if head.startswith(magic):
            return kind
    if _is_nifti(head):
        return "nifti"
    if METAIMAGE.match(head):
        return "metaimage"
    return "dicom" if _is_dataset(head) else None


def _is_dataset(head: bytes) -> bool:
    """Whether this is DICOM without a preamble: several elements in a row, from a group that comes first."""
    offset, last = 0, (0, 0)
    for _ in range(MIN_ELEMENTS):
        if len(head) < offset + 12:
            return False
        group, element, vr, short = struct.unpack_from("<HH2sH", head, offset)
        if not (group, element) > last or group not in (2, 8):
            return False
        if vr in LONG_VRS:
            length, start = struct.unpack_from("<I", head, offset + 8)[0], 12
        elif vr in SHORT_VRS:
            length, start = short, 8
        else:
            length, start = struct.unpack_from("<I", head, offset + 4)[0], 8
        offset, last = offset + start + length, (group, element)
    return True


def _foreign_kind(head: bytes) -> str | None:
    """The format of a file that metseg does not read, and what to do with it; None if unknown."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, 512)
        except zlib.error:
            return None
        if head[128:132] == b"DICM":
            return "DICOM compressed by gzip: decompress it"
    if head[257:262] == b"ustar":
        return "a tar archive: send a ZIP"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "a WebP image: save it as PNG"
    if head[:4] == struct.pack("<i", 348) or head[:4] == struct.pack(">i", 348):
        return "an Analyze header: save the volume as NIfTI (.nii.gz)"
    return next((name for magic, name in FOREIGN.items() if head.startswith(magic)), None)


def _is_nifti(head: bytes) -> bool:
    """Whether this is a NIfTI-1 or NIfTI-2 header, gzipped or not."""
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, NIFTI_HEAD_BYTES)
        except zlib.error:
            return False
    if len(head) < NIFTI_HEAD_BYTES:
        return False
    sizes = {struct.unpack_from(order + "i", head)[0] for order in "<>"}
    return (348 in sizes and head[344:347] in (b"n+1", b"ni1")) or (540 in sizes and head[4:7] in (b"n+2", b"ni2"))
