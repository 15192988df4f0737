"""NIfTI out: our own masks and probability maps, as the store keeps them and as people download them.

Our arrays are (slice, row, column); NIfTI's are (column, row, slice), the first axis fastest. So the bytes of
both are in the same order, and an affine maps (column, row, slice) indices to patient millimetres.
"""

import gzip
import zlib
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from isal import igzip
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from metseg.contracts import Grid
from metseg.errors import NotAvailable, ProcessingFailed
from metseg.grid import from_pipeline

__all__ = [
    "Affine",
    "Spacing",
    "on_uploaded_grid",
    "quantise",
    "read_mask",
    "read_probability",
    "write_mask",
    "write_probability",
]

Affine = npt.NDArray[np.float64]
Spacing = tuple[float, float, float]

LEVEL = 2  # of ISA-L, from 0 to 3: as small as zlib's 4
NO_EXTENSION = bytes(4)  # stands between header and voxels
STEPS = 65535  # a probability of 1; 16 bits keep what float32 holds to 8e-6
DAMAGE = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)


def write_mask(mask: npt.NDArray[np.bool_], spacing_mm: Spacing | None, affine: Affine | None) -> bytes:
    """A mask, (slice, row, column), as `.nii.gz` of uint8, 0 and 1; equal input gives equal bytes."""
    return _pack(mask.astype(np.uint8), spacing_mm, affine)


def write_probability(probability: npt.NDArray[np.float32], spacing_mm: Spacing | None, affine: Affine | None) -> bytes:
    """A probability map as `.nii.gz` of uint16 with the slope 1/65535; equal input gives equal bytes."""
    return _pack(quantise(probability), spacing_mm, affine, slope=1 / STEPS)


def quantise(probability: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Probabilities in 65536 steps."""
    steps = np.empty(probability.shape, np.uint16)
    for source, target in zip(probability, steps, strict=True):  # a slice in float64 is enough at a time
        target[...] = np.rint(source * np.float64(STEPS))
    return steps


def read_mask(data: bytes) -> npt.NDArray[np.bool_]:
    """The mask in bytes that `write_mask` wrote.

    Raises:
        ProcessingFailed: the bytes are damaged.
    """
    mask: npt.NDArray[np.bool_] = _unpack(data) > 0
    return mask


def read_probability(data: bytes) -> npt.NDArray[np.float32]:
    """The probability map in bytes that `write_probability` wrote.

    Raises:
        ProcessingFailed: the bytes are damaged.
    """
    probability: npt.NDArray[np.float32] = np.divide(_unpack(data), STEPS).astype(np.float32)
    return probability


def on_uploaded_grid(data: bytes, grid: Grid) -> bytes:
    """A mask or probability map as it is kept, in the order and with the header of the NIfTI file that was uploaded.

    Voxels are only reordered: the stored numbers stay what they are, and the place is written field by field.

    Args:
        data: as `write_mask` or `write_probability` wrote it.
        grid: of the result, with its `nifti`.

    Raises:
        ProcessingFailed: the bytes are damaged.
        NotAvailable: the upload was not NIfTI.
    """
    place = grid.nifti
    if place is None:
        raise NotAvailable("The upload was no NIfTI file, so there is no header to go back to.")
    voxels = from_pipeline(_unpack(data), grid)
    kind = nibabel.Nifti1Header if place.version == 1 else nibabel.Nifti2Header
    header: Any = kind()  # type: ignore[no-untyped-call]
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(place.dim)
    header["pixdim"][:4] = place.pixdim
    for name, row in zip("xyz", place.srow, strict=True):
        header[f"srow_{name}"] = row
    for name, value in zip("bcd", place.quatern, strict=True):
        header[f"quatern_{name}"] = value
    for name, value in zip("xyz", place.qoffset, strict=True):
        header[f"qoffset_{name}"] = value
    header["qform_code"], header["sform_code"] = place.qform_code, place.sform_code
    header["xyzt_units"] = place.xyzt_units
    if voxels.dtype == np.uint16:
        header.set_slope_inter(1 / STEPS, 0)
    header["vox_offset"] = len(header.binaryblock) + len(NO_EXTENSION)
    return igzip.compress(header.binaryblock + NO_EXTENSION + voxels.tobytes(order="F"), LEVEL, mtime=0)


def _pack(
    values: npt.NDArray[np.generic], spacing_mm: Spacing | None, affine: Affine | None, slope: float | None = None
) -> bytes:
    image: Any = nibabel.Nifti1Image(values.transpose(), affine)  # type: ignore[no-untyped-call]
    if affine is not None or spacing_mm is not None:
        image.header.set_xyzt_units("mm")
    if affine is None and spacing_mm is not None:  # sizes are known, the place in the patient is not
        image.header.set_zooms(spacing_mm[::-1])
    if slope is not None:
        image.header.set_slope_inter(slope, 0)
    return igzip.compress(image.to_bytes(), LEVEL, mtime=0)


def _unpack(data: bytes) -> npt.NDArray[Any]:
    """The stored values, unscaled, as (slice, row, column)."""
    try:
        image: Any = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
        return np.asarray(image.dataobj.get_unscaled()).transpose()
    except DAMAGE as error:
        raise ProcessingFailed("A stored result is damaged; submit the study again.") from error
