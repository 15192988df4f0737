"""What a header says about a volume, whatever the format of the file."""

import math
from typing import Any, Literal, NamedTuple, cast

import nibabel
import numpy as np

from metseg.contracts import NiftiGeometry
from metseg.errors import UnreadableImage
from metseg.imaging import LPS_TO_RAS, Affine, Float64Array, Mask

__all__ = [
    "Compression",
    "VolumeHeader",
    "damaged",
    "geometry_fields",
    "is_invertible",
    "is_plausible",
    "lps_affine",
    "nifti_geometry",
]

Compression = Literal["gzip", "zlib"]
MIN_UNIT_VOLUME = 1e-3
"""Of the parallelepiped of the unit vectors along the axes; with less, the affine is singular."""
MIN_VOXEL_MM, MAX_VOXEL_MM = 1e-4, 1e4
MAX_POSITION_MM = 1e5
"""Sizes and positions beyond these bounds count as missing; no orientation could be computed from them either."""
MAX_NIFTI_1_SIDE = 2**15 - 1


class VolumeHeader(NamedTuple):
    """The content of a header.

    Attributes:
        format: its name, for messages.
        shape: voxels along the file's three axes.
        volumes: the number of volumes in the file; None for a single one.
        dtype: of a stored voxel, with its byte order.
        start: of the voxels or of the compressed stream with them, in bytes from the start of their file; negative:
            uncompressed voxels that end with their file.
        compression: of everything from `start`; None where there is none.
        offset: of the first voxel from `start`, in bytes after decompression.
        slope: factor of stored values.
        intercept: added to them after that.
        affine: from voxels to RAS+ millimetres; a default unless `has_position`.
        has_position: whether the header has a position and orientation.
        has_spacing: whether it has the sizes of voxels.
        fields: how a NIfTI file on the same grid describes it.
        voxel_file: name of the file with the voxels; None where it is the header's own.
    """

    format: Literal["NIfTI", "NRRD", "MetaImage"]
    shape: tuple[int, int, int]
    volumes: int | None
    dtype: np.dtype[Any]
    start: int
    compression: Compression | None
    offset: int
    slope: float
    intercept: float
    affine: Affine
    has_position: bool
    has_spacing: bool
    fields: NiftiGeometry
    voxel_file: str | None = None

    @property
    def volume_bytes(self) -> int:
        """Size of one stored volume."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def content_bytes(self) -> int:
        """Size of the decompressed content up to its last voxel."""
        return self.offset + self.volume_bytes * (self.volumes or 1)

    def check_length(self, file_bytes: int) -> None:
        """Refuse uncompressed voxels that are not all in their file.

        Args:
            file_bytes: size of the file with the voxels.

        Raises:
            UnreadableImage: it is shorter than the header says.
        """
        if self.compression is None and max(self.start, 0) + self.content_bytes > file_bytes:
            raise UnreadableImage(f"A {self.format} file is cut off; export it again.")


def damaged(format: str) -> UnreadableImage:
    """The refusal of a header that cannot be parsed."""
    return UnreadableImage(f"The header of a {format} file is damaged or cut off; export it again.")


def is_plausible(lengths: Float64Array) -> Mask:
    """Which sizes of voxels, in millimetres, are usable; the others count as missing."""
    return np.asarray((lengths > MIN_VOXEL_MM) & (lengths < MAX_VOXEL_MM))


@np.errstate(over="ignore", invalid="ignore")
def is_invertible(affine: Affine) -> bool:
    """Whether an affine from voxels to millimetres is usable; else the header counts as having no position."""
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > MAX_POSITION_MM:
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(is_plausible(lengths).all() and abs(np.linalg.det(affine[:3, :3] / lengths)) > MIN_UNIT_VOLUME)


def lps_affine(directions: Float64Array, origin: Float64Array) -> Affine:
    """The affine to RAS+ of a format whose axes point to the left, the back and the head.

    Args:
        directions: (3, 3), millimetres from voxel to voxel, a column for each axis of the file.
        origin: (3,), millimetres, of the first voxel.

    Returns:
        (4, 4).
    """
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions, origin
    return np.asarray(LPS_TO_RAS @ affine)


def geometry_fields(raw: Any, version: int) -> NiftiGeometry:  # noqa: ANN401 (nibabel has no types)
    """The geometry in a NIfTI header.

    Args:
        raw: as nibabel parses it.
        version: of NIfTI.

    Returns:
        Its fields as stored.
    """
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


def nifti_geometry(shape: tuple[int, int, int], affine: Affine) -> NiftiGeometry:
    """How NIfTI describes the grid of a volume in another format.

    Args:
        shape: voxels along the file's three axes.
        affine: from them to RAS+ millimetres, invertible.

    Returns:
        The fields of a header with this affine as sform and qform.
    """
    version = 1 if max(shape) <= MAX_NIFTI_1_SIDE else 2
    header: Any = nibabel.Nifti1Header() if version == 1 else nibabel.Nifti2Header()  # type: ignore[no-untyped-call]
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_qform(affine, 1, strip_shears=True)
    header.set_sform(affine, 1)
    return geometry_fields(header, version)
