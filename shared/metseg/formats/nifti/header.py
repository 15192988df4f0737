"""A NIfTI header: what it tells of a volume, judged before anything is read or unpacked.

NIfTI-1 and NIfTI-2 in one file (`.nii`), packed by gzip or not, in either byte order; nibabel knows the fields.
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
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import data_type_codes
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from metseg.contracts import NiftiGeometry
from metseg.errors import UnreadableImage, UnsupportedFormat
from metseg.imaging import Affine

__all__ = ["DAMAGE", "Header", "read_header", "unpacked"]

GZIP = b"\x1f\x8b"
HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
MOST_OFFSET = 64 * 2**20
"""Extensions lie between header and voxels; none that anyone writes is longer."""
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
"""Millimetres a unit, by the header's code for metres and for micrometres; all else is millimetres."""
LEAST_VOLUME = 1e-3
"""Of the unit vectors along the axes: less, and the affine has lost a dimension."""
LEAST_VOXEL_MM, MOST_VOXEL_MM = 1e-4, 1e4
FURTHEST_MM = 1e5  # of a place in a patient from where any scanner counts
"""A header that tells of smaller or larger voxels tells of none, whose orientation could not be computed either."""


class Header(NamedTuple):
    """What a header tells.

    Attributes:
        shape: voxels along the file's three axes.
        channels: None of a single volume, else the number of volumes that follow each other.
        dtype: of a stored voxel, byte order included.
        offset: of the first voxel, in bytes from the start.
        slope: what a stored value is multiplied by.
        intercept: what is added then.
        affine: from voxels to RAS+ millimetres; a guess where `placed` is not.
        placed: whether the header tells a place in the patient.
        sized: whether the sizes of voxels are told.
        packed: whether the file is packed by gzip.
        stored_bytes: of the file.
        place: the fields, to write them again.
    """

    shape: tuple[int, int, int]
    channels: int | None
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    affine: Affine
    placed: bool
    sized: bool
    packed: bool
    stored_bytes: int
    place: NiftiGeometry

    @property
    def volume_bytes(self) -> int:
        """Of one stored volume."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def content_bytes(self) -> int:
        """Of the file, unpacked, up to its last voxel."""
        return self.offset + self.volume_bytes * (self.channels or 1)


def read_header(stream: BinaryIO) -> Header:
    """Read and judge a header.

    Raises:
        UnreadableImage: it is damaged, or tells more voxels than the file has bytes for.
        UnsupportedFormat: it is of a pair of files, or its voxels are no plain numbers.
    """
    packed = stream.read(2) == GZIP
    with unpacked(stream, packed) as plain:
        try:
            head = plain.read(HEADER_BYTES)
        except DAMAGE as error:
            raise _damaged() from error
    raw, version = _parse(head)
    try:
        header = _told(raw, version, packed, stream.seek(0, SEEK_END))
    except DAMAGE as error:
        raise _damaged() from error
    if not packed and header.content_bytes > header.stored_bytes:
        raise UnreadableImage("A NIfTI file is cut off; export it again.")
    return header


@contextmanager
def unpacked(stream: BinaryIO, packed: bool) -> Iterator[BinaryIO]:
    """The file's plain content from its start, unpacked as far as it is read."""
    stream.seek(0)
    if not packed:
        yield stream
        return
    with gzip.GzipFile(fileobj=stream, mode="rb") as plain:
        yield cast(BinaryIO, plain)


def _parse(head: bytes) -> tuple[Any, int]:
    """The header as nibabel has it, and its version."""
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
        raise UnsupportedFormat("A NIfTI header was sent without its voxels (.hdr); send both as one .nii file.")
    version = 1 if head[344:347] == b"n+1" else 2
    kind = nibabel.Nifti1Header if version == 1 else nibabel.Nifti2Header
    try:
        return kind.from_fileobj(BytesIO(head), check=False), version  # type: ignore[no-untyped-call]
    except DAMAGE as error:
        raise _damaged() from error


def _told(raw: Any, version: int, packed: bool, stored_bytes: int) -> Header:  # noqa: ANN401
    shape, channels = _shape(raw)
    dtype = _dtype(raw)
    slope, intercept = (1.0 if value is None else float(value) for value in _scaling(raw))
    affine, placed = _affine(raw)
    offset = float(raw["vox_offset"])
    if not 0 <= offset <= MOST_OFFSET:
        raise _damaged()
    return Header(
        shape,
        channels,
        dtype,
        max(int(offset), 352 if version == 1 else 544),
        slope,
        intercept,
        affine,
        placed,
        placed or bool(_sensible(_sizes(raw)).all()),
        packed,
        stored_bytes,
        _place(raw, version),
    )


def _shape(raw: Any) -> tuple[tuple[int, int, int], int | None]:  # noqa: ANN401
    """The three sides, and how many volumes follow each other."""
    count = int(raw["dim"][0])
    sides = [int(side) for side in raw["dim"][1 : count + 1]]
    if not 1 <= count <= 7 or min(sides) < 1:
        raise _damaged()
    first, second, third, *more = sides + [1] * (3 - count)
    more = [side for side in more if side > 1]
    if len(more) > 1:
        raise UnsupportedFormat("A NIfTI file has more than four dimensions; send one volume a file.")
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


@np.errstate(over="ignore", invalid="ignore")  # what becomes infinite is judged as such
def _affine(raw: Any) -> tuple[Affine, bool]:  # noqa: ANN401
    """From voxels to RAS+ millimetres, and whether the header tells it: by sform, else qform, else by no word."""
    millimetres = np.diag([_unit_mm(raw)] * 3 + [1.0])
    for told in (raw.get_sform(coded=True), _qform(raw)):
        if told[0] is not None and _invertible(affine := millimetres @ np.asarray(told[0], np.float64)):
            return affine, True
    sizes = np.where(_sensible(_sizes(raw)), _sizes(raw), 1.0)
    return np.diag([-sizes[0], sizes[1], sizes[2], 1.0]), False


def _unit_mm(raw: Any) -> float:  # noqa: ANN401
    return MM_IN.get(int(raw["xyzt_units"]) & 7, 1.0)


@np.errstate(over="ignore")
def _sizes(raw: Any) -> npt.NDArray[np.float64]:  # noqa: ANN401
    """Of a voxel along the three axes, in millimetres."""
    return np.asarray(raw["pixdim"][1:4], np.float64) * _unit_mm(raw)


def _sensible(lengths: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which of these can be told at all; what is not is taken for not told."""
    return np.asarray((lengths > LEAST_VOXEL_MM) & (lengths < MOST_VOXEL_MM))


def _qform(raw: Any) -> tuple[Affine | None, int]:  # noqa: ANN401
    try:
        affine, code = raw.get_qform(coded=True)
    except DAMAGE:  # a rotation that is none: the header then tells no place by it
        return None, 0
    return affine, int(code)


def _invertible(affine: Affine) -> bool:
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > FURTHEST_MM:
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(_sensible(lengths).all() and abs(np.linalg.det(affine[:3, :3] / lengths)) > LEAST_VOLUME)


def _place(raw: Any, version: int) -> NiftiGeometry:  # noqa: ANN401
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
