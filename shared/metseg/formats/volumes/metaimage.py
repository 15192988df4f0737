"""MetaImage headers, as ITK writes them (.mha with its voxels, .mhd with the name of the file that has them)."""

import re
from collections.abc import Mapping
from typing import BinaryIO, Literal, cast

import numpy as np

from metseg.errors import UnsupportedFormat
from metseg.formats.names import metaimage_voxel_file
from metseg.formats.volumes.header import (
    VolumeHeader,
    damaged,
    is_invertible,
    is_plausible,
    lps_affine,
    nifti_geometry,
)
from metseg.imaging import Affine, Float64Array

__all__ = ["read_header"]

FORMAT: Literal["MetaImage"] = "MetaImage"
MAX_HEADER_BYTES = 2**16
DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
SINGLE_FILE = re.compile(r"[^/\\%]+")


def read_header(stream: BinaryIO) -> VolumeHeader:
    """Read and check a header.

    Raises:
        UnreadableImage: it is damaged.
        UnsupportedFormat: its voxels are in several files, or of a type or encoding that is not read.
    """
    head = stream.read(MAX_HEADER_BYTES)
    found = metaimage_voxel_file(head)
    if found is None:
        raise damaged(FORMAT)
    file, start = found
    lines = head[:start].decode("utf-8", "replace").splitlines()
    fields = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}
    try:
        return _parse_header(fields, file, start)
    except (ValueError, KeyError, IndexError, OverflowError) as error:
        raise damaged(FORMAT) from error


def _parse_header(fields: Mapping[str, str], file: str, start: int) -> VolumeHeader:
    _check_encoding(fields, file)
    axes = int(fields["NDims"])
    sizes = [int(size) for size in fields["DimSize"].split()]
    if len(sizes) != axes or not 2 <= axes <= 4 or min(sizes) < 1:
        raise damaged(FORMAT)
    shape = cast(tuple[int, int, int], tuple((*sizes, 1)[:3]))
    affine, has_position, has_spacing = _affine(fields, axes)
    skip = int(fields.get("HeaderSize", "0"))
    if skip < -1:
        raise damaged(FORMAT)
    is_local = file.upper() == "LOCAL"
    return VolumeHeader(
        FORMAT,
        shape,
        sizes[3] if axes == 4 and sizes[3] > 1 else None,
        _dtype(fields),
        (start if is_local else 0) if skip == 0 else skip,
        "zlib" if _is_true(fields.get("CompressedData")) else None,
        0,
        1.0,
        0.0,
        affine,
        has_position,
        has_spacing,
        nifti_geometry(shape, affine),
        None if is_local else file,
    )


def _check_encoding(fields: Mapping[str, str], file: str) -> None:
    if fields.get("ObjectType", "Image") != "Image" or int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise UnsupportedFormat("A MetaImage file has several values for each voxel, or is no image; send one volume.")
    if not _is_true(fields.get("BinaryData", "True")):
        raise UnsupportedFormat("The voxels of a MetaImage file are text; save them as binary numbers.")
    if file.upper().startswith("LIST") or not SINGLE_FILE.fullmatch(file):
        raise UnsupportedFormat(
            "A MetaImage header names several files, or one in another folder; save the volume as one .mha file."
        )


def _is_true(word: str | None) -> bool:
    return word is not None and word[:1].upper() in ("T", "1", "Y")


def _dtype(fields: Mapping[str, str]) -> np.dtype[np.generic]:
    code = DTYPES.get(fields["ElementType"].upper())
    if code is None:
        raise UnsupportedFormat("The voxels of a MetaImage file have an unsupported type; store numbers.")
    is_big = _is_true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB")))
    return np.dtype((">" if is_big else "<") + code)


def _affine(fields: Mapping[str, str], axes: int) -> tuple[Affine, bool, bool]:
    """From voxels to RAS+ millimetres, whether the header has it, and whether it has the sizes of voxels."""
    sizes = _numbers(fields, "ElementSpacing", "ElementSize")[:3]
    has_spacing = len(sizes) == 3 and bool(is_plausible(sizes).all())
    directions = _numbers(fields, "TransformMatrix", "Rotation", "Orientation")
    if has_spacing and len(directions) == axes**2 and axes >= 3:
        columns = directions.reshape(axes, axes)[:3, :3].T  # a row in the file for each axis
        origin = _numbers(fields, "Offset", "Position", "Origin")[:3]
        affine = lps_affine(columns * sizes, origin if len(origin) == 3 else np.zeros(3))
        if is_invertible(affine):
            return affine, True, True
    return lps_affine(np.diag(sizes if has_spacing else np.ones(3)), np.zeros(3)), False, has_spacing


def _numbers(fields: Mapping[str, str], *names: str) -> Float64Array:
    """The numbers of the first of these fields that there is."""
    return np.array([float(word) for word in next((fields[name] for name in names if name in fields), "").split()])
