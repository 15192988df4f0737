"""NIfTI headers, read and checked before any voxel is read or decompressed.

NIfTI-1 and NIfTI-2 in one file (`.nii`), gzipped or not, in either byte order; nibabel parses the fields.
"""

import zlib
from io import BytesIO
from typing import Any, BinaryIO, Literal, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import data_type_codes
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from metseg.errors import UnsupportedFormat
from metseg.formats.volumes.header import VolumeHeader, damaged, geometry_fields, is_invertible, is_plausible
from metseg.formats.volumes.voxels import open_content
from metseg.imaging import Affine, Float64Array

__all__ = ["read_header", "unit_mm"]

FORMAT: Literal["NIfTI"] = "NIfTI"
GZIP = b"\x1f\x8b"
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
MAX_OFFSET = 64 * 2**20
"""Extensions stand between header and voxels; those in use are shorter."""
DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    OverflowError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
MM_IN = {1: 1000.0, 3: 0.001}
"""Millimetres per unit, by the header's code for metres and for micrometres; every other code is millimetres."""


def read_header(stream: BinaryIO) -> VolumeHeader:
    """Read and check a header.

    Raises:
        UnreadableImage: it is damaged.
        UnsupportedFormat: it belongs to a pair of files, or its voxels are not real numbers.
    """
    is_gzipped = stream.read(2) == GZIP
    try:
        with open_content(stream, 0, "gzip" if is_gzipped else None) as plain:
            head = plain.read(HEADER_BYTES)
        raw, version = _parse_fields(head)
        return _parse_header(raw, version, is_gzipped)
    except DAMAGE as error:
        raise damaged(FORMAT) from error


def _parse_fields(head: bytes) -> tuple[Any, int]:
    """The header as nibabel parses it, and its version."""
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise UnsupportedFormat("A NIfTI header was sent without its voxels (.hdr); send both as one .nii file.")
    version = 1 if head[344:347] == b"n+1" else 2
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    return kind.from_fileobj(BytesIO(head), check=False), version  # type: ignore[no-untyped-call]


def _parse_header(raw: Any, version: int, is_gzipped: bool) -> VolumeHeader:  # noqa: ANN401
    shape, volumes = _shape(raw)
    dtype = _dtype(raw)
    slope, intercept = (1.0 if value is None else float(value) for value in _scaling(raw))
    affine, has_position = _affine(raw)
    offset = float(raw["vox_offset"])
    if not 0 <= offset <= MAX_OFFSET:
        raise damaged(FORMAT)
    return VolumeHeader(
        FORMAT,
        shape,
        volumes,
        dtype,
        0,
        "gzip" if is_gzipped else None,
        max(int(offset), 352 if version == 1 else 544),
        slope,
        intercept,
        affine,
        has_position,
        has_position or bool(is_plausible(_sizes(raw)).all()),
        geometry_fields(raw, version),
    )


def _shape(raw: Any) -> tuple[tuple[int, int, int], int | None]:  # noqa: ANN401
    """The three sides, and the number of volumes."""
    count = int(raw["dim"][0])
    sides = [int(side) for side in raw["dim"][1 : count + 1]]
    if not 1 <= count <= 7 or min(sides) < 1:
        raise damaged(FORMAT)
    first, second, third, *more = sides + [1] * (3 - count)
    if any(side > 1 for side in more[1:]):
        raise UnsupportedFormat(
            "A NIfTI file has several values for each voxel (vectors), or more than four dimensions; send one volume "
            "per file."
        )
    return (first, second, third), more[0] if more and more[0] > 1 else None


def _dtype(raw: Any) -> np.dtype[Any]:  # noqa: ANN401
    try:
        dtype: np.dtype[Any] = np.dtype(cast(Any, data_type_codes.dtype[int(raw["datatype"])]))
    except KeyError as error:
        raise UnsupportedFormat("The voxels of a NIfTI file have an unsupported type; store numbers.") from error
    if dtype.kind not in "iuf" or dtype.itemsize == 0:
        raise UnsupportedFormat("The voxels of a NIfTI file are colours or complex numbers; store plain numbers.")
    ordered: np.dtype[Any] = dtype.newbyteorder(raw.endianness)
    return ordered


def _scaling(raw: Any) -> tuple[float | None, float | None]:  # noqa: ANN401
    slope, intercept = raw.get_slope_inter()
    return slope, intercept


@np.errstate(over="ignore", invalid="ignore")  # infinite values are checked below
def _affine(raw: Any) -> tuple[Affine, bool]:  # noqa: ANN401
    """From voxels to RAS+ millimetres, and whether the header has it: the sform, else the qform, else a default."""
    millimetres = np.diag([_unit_mm(raw)] * 3 + [1.0])
    for stored, _ in (raw.get_sform(coded=True), _qform(raw)):
        if stored is not None and is_invertible(affine := millimetres @ np.asarray(stored, np.float64)):
            return affine, True
    sizes = np.where(is_plausible(_sizes(raw)), _sizes(raw), 1.0)
    return np.diag([-sizes[0], sizes[1], sizes[2], 1.0]), False


def unit_mm(units: int) -> float:
    """Millimetres per unit of length, by the header's `xyzt_units`."""
    return MM_IN.get(units & 7, 1.0)


def _unit_mm(raw: Any) -> float:  # noqa: ANN401
    return unit_mm(int(raw["xyzt_units"]))


@np.errstate(over="ignore")
def _sizes(raw: Any) -> Float64Array:  # noqa: ANN401
    """Millimetres of a voxel along the three axes."""
    return np.asarray(raw["pixdim"][1:4], np.float64) * _unit_mm(raw)


def _qform(raw: Any) -> tuple[Affine | None, int]:  # noqa: ANN401
    try:
        affine, code = raw.get_qform(coded=True)
    except DAMAGE:  # an invalid rotation: the header has no position by its qform
        return None, 0
    return affine, int(code)
