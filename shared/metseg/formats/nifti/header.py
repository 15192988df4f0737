"""NIfTI headers, read and checked before any voxel is read or decompressed.

NIfTI-1 and NIfTI-2 in one file (`.nii`), gzipped or not, in either byte order; nibabel parses the fields.
"""

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import SEEK_END
from typing import Any, BinaryIO, NamedTuple, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import data_type_codes
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from metseg.contracts import NiftiGeometry
from metseg.errors import UnreadableImage, UnsupportedFormat
from metseg.imaging import Affine, Float64Array, Mask

__all__ = ["DAMAGE", "NiftiHeader", "open_decompressed", "read_header"]

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
MIN_UNIT_VOLUME = 1e-3
"""Of the parallelepiped of the unit vectors along the axes; with less, the affine is singular."""
MIN_VOXEL_MM, MAX_VOXEL_MM = 1e-4, 1e4
MAX_POSITION_MM = 1e5
"""Sizes and positions beyond these bounds count as missing; no orientation could be computed from them either."""


class NiftiHeader(NamedTuple):
    """The content of a header.

    Attributes:
        shape: voxels along the file's three axes.
        volumes: the number of volumes in the file; None for a single one.
        dtype: of a stored voxel, with its byte order.
        offset: of the first voxel, in bytes from the start.
        slope: factor of stored values.
        intercept: added to them after that.
        affine: from voxels to RAS+ millimetres; a default unless `has_position`.
        has_position: whether the header has a position and orientation.
        has_spacing: whether it has the sizes of voxels.
        is_gzipped: whether the file is compressed.
        file_bytes: of the file as stored.
        fields: those of its geometry, to write them again.
    """

    shape: tuple[int, int, int]
    volumes: int | None
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: Affine
    has_position: bool
    has_spacing: bool
    is_gzipped: bool
    file_bytes: int
    fields: NiftiGeometry

    @property
    def volume_bytes(self) -> int:
        """Size of one stored volume."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def content_bytes(self) -> int:
        """Size of the decompressed file up to its last voxel."""
        return self.offset + self.volume_bytes * (self.volumes or 1)


def read_header(stream: BinaryIO) -> NiftiHeader:
    """Read and check a header.

    Raises:
        UnreadableImage: it is damaged, or describes more voxels than the file has bytes for.
        UnsupportedFormat: it belongs to a pair of files, or its voxels are not real numbers.
    """
    is_gzipped = stream.read(2) == GZIP
    with open_decompressed(stream, is_gzipped) as plain:
        try:
            head = plain.read(HEADER_BYTES)
        except DAMAGE as error:
            raise _damaged() from error
    raw, version = _parse_fields(head)
    try:
        header = _parse_header(raw, version, is_gzipped, stream.seek(0, SEEK_END))
    except DAMAGE as error:
        raise _damaged() from error
    if not is_gzipped and header.content_bytes > header.file_bytes:
        raise UnreadableImage("A NIfTI file is cut off; export it again.")
    return header


@contextmanager
def open_decompressed(stream: BinaryIO, is_gzipped: bool) -> Iterator[BinaryIO]:
    """The file's content from its start, decompressed as it is read.

    Args:
        stream: the file.
        is_gzipped: whether it is compressed.

    Yields:
        A stream that can be read forwards.
    """
    stream.seek(0)
    if not is_gzipped:
        yield stream
        return
    with gzip.GzipFile(fileobj=stream, mode="rb") as plain:
        yield cast(BinaryIO, plain)


def _parse_fields(head: bytes) -> tuple[Any, int]:
    """The header as nibabel parses it, and its version."""
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise UnsupportedFormat("A NIfTI header was sent without its voxels (.hdr); send both as one .nii file.")
    version = 1 if head[344:347] == b"n+1" else 2
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    try:
        return kind.from_fileobj(BytesIO(head), check=False), version  # type: ignore[no-untyped-call]
    except DAMAGE as error:
        raise _damaged() from error


def _parse_header(raw: Any, version: int, is_gzipped: bool, file_bytes: int) -> NiftiHeader:  # noqa: ANN401
    shape, volumes = _shape(raw)
    dtype = _dtype(raw)
    slope, intercept = (1.0 if value is None else float(value) for value in _scaling(raw))
    affine, has_position = _affine(raw)
    offset = float(raw["vox_offset"])
    if not 0 <= offset <= MAX_OFFSET:
        raise _damaged()
    return NiftiHeader(
        shape,
        volumes,
        dtype,
        max(int(offset), 352 if version == 1 else 544),
        slope,
        intercept,
        affine,
        has_position,
        has_position or bool(_is_plausible(_sizes(raw)).all()),
        is_gzipped,
        file_bytes,
        _fields(raw, version),
    )


def _shape(raw: Any) -> tuple[tuple[int, int, int], int | None]:  # noqa: ANN401
    """The three sides, and the number of volumes."""
    count = int(raw["dim"][0])
    sides = [int(side) for side in raw["dim"][1 : count + 1]]
    if not 1 <= count <= 7 or min(sides) < 1:
        raise _damaged()
    first, second, third, *more = sides + [1] * (3 - count)
    more = [side for side in more if side > 1]
    if len(more) > 1:
        raise UnsupportedFormat("A NIfTI file has more than four dimensions; send one volume per file.")
    return (first, second, third), more[0] if more else None


def _dtype(raw: Any) -> np.dtype[Any]:  # noqa: ANN401
    try:
        dtype: np.dtype[Any] = np.dtype(cast(Any, data_type_codes.dtype[int(raw["datatype"])]))
    except KeyError as error:
        raise UnsupportedFormat("The voxels of a NIfTI file are of no type that is read; store numbers.") from error
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
        if stored is not None and _is_invertible(affine := millimetres @ np.asarray(stored, np.float64)):
            return affine, True
    sizes = np.where(_is_plausible(_sizes(raw)), _sizes(raw), 1.0)
    return np.diag([-sizes[0], sizes[1], sizes[2], 1.0]), False


def _unit_mm(raw: Any) -> float:  # noqa: ANN401
    return MM_IN.get(int(raw["xyzt_units"]) & 7, 1.0)


@np.errstate(over="ignore")
def _sizes(raw: Any) -> Float64Array:  # noqa: ANN401
    """Millimetres of a voxel along the three axes."""
    return np.asarray(raw["pixdim"][1:4], np.float64) * _unit_mm(raw)


def _is_plausible(lengths: Float64Array) -> Mask:
    """Which of these are usable; the others count as missing."""
    return np.asarray((lengths > MIN_VOXEL_MM) & (lengths < MAX_VOXEL_MM))


def _qform(raw: Any) -> tuple[Affine | None, int]:  # noqa: ANN401
    try:
        affine, code = raw.get_qform(coded=True)
    except DAMAGE:  # an invalid rotation: the header has no position by its qform
        return None, 0
    return affine, int(code)


def _is_invertible(affine: Affine) -> bool:
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > MAX_POSITION_MM:
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(_is_plausible(lengths).all() and abs(np.linalg.det(affine[:3, :3] / lengths)) > MIN_UNIT_VOLUME)


def _fields(raw: Any, version: int) -> NiftiGeometry:  # noqa: ANN401
    count = int(raw["dim"][0])
    sides = [int(side) for side in raw["dim"][1 : count + 1]]
    kept = sides if all(side == 1 for side in sides[3:]) else sides[:3]

    def numbers(*names: str) -> list[float]:
        return [float(raw[name]) for name in names]

    return NiftiGeometry(
        version=cast(Any, version),
        dim=kept,
        pixdim=cast(Any, [float(size) for size in raw["pixdim"][:4]]),
        xyzt_units=int(raw["xyzt_units"]),
        qform_code=int(raw["qform_code"]),
        sform_code=int(raw["sform_code"]),
        quatern=cast(Any, numbers("quatern_b", "quatern_c", "quatern_d")),
        qoffset=cast(Any, numbers("qoffset_x", "qoffset_y", "qoffset_z")),
        srow=cast(Any, [[float(value) for value in raw[f"srow_{row}"]] for row in "xyz"]),
    )


def _damaged() -> UnreadableImage:
    return UnreadableImage("The header of a NIfTI file is damaged or cut off; export it again.")
