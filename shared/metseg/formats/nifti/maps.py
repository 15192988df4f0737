"""Masks and probability maps as NIfTI: how the store keeps them and how people download them.

metseg's arrays are (slice, row, column); NIfTI's are (column, row, slice), the first axis fastest. So the bytes of both
are in the same order, and an affine maps (column, row, slice) indices to patient millimetres.
"""

import gzip
import zlib
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
from isal import igzip, isal_zlib
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from metseg.contracts import Grid
from metseg.errors import NotAvailable, ProcessingFailed
from metseg.imaging import Affine, Array, Float32Array, Mask, Spacing, from_canonical

__all__ = [
    "ProbabilityWriter",
    "quantise",
    "read_mask",
    "read_probability",
    "restore_uploaded_grid",
    "write_mask",
    "write_probability",
]

COMPRESSION_LEVEL = 2  # of ISA-L, from 0 to 3: as small as zlib's 4
NO_EXTENSION = bytes(4)  # between header and voxels
MAX_LEVEL = 65535  # a probability of 1; 16 bits are exact to 8e-6
DAMAGE = (OSError, EOFError, ValueError, zlib.error, ImageFileError, HeaderDataError, WrapStructError)


def write_mask(mask: Mask, spacing_mm: Spacing | None, affine: Affine | None) -> bytes:
    """Write a mask; equal input gives equal bytes.

    Args:
        mask: bool, (slice, row, column).
        spacing_mm: between slices, rows and columns; None where unknown.
        affine: from (column, row, slice) to RAS+ millimetres; None where unknown.

    Returns:
        A `.nii.gz` of uint8, 0 and 1.
    """
    writer = _SliceWriter(mask.shape, np.uint8, spacing_mm, affine)
    for one in mask:
        writer.add(one)
    return writer.finish()


def write_probability(probability: Float32Array, spacing_mm: Spacing | None, affine: Affine | None) -> bytes:
    """Write a probability map.

    Args:
        probability: float32 in [0, 1], (slice, row, column).
        spacing_mm: as in `write_mask`.
        affine: as in `write_mask`.

    Returns:
        A `.nii.gz` as from `ProbabilityWriter`.
    """
    writer = ProbabilityWriter(probability.shape, spacing_mm, affine)
    for index, one in enumerate(probability):
        writer.add(index, one)
    return writer.finish()


class ProbabilityWriter:
    """Writes a probability map as `.nii.gz` of uint16 with the slope 1/65535, slice by slice.

    Equal input gives equal bytes.

    Args:
        shape: slices, rows, columns.
        spacing_mm: between slices, rows and columns; None where unknown.
        affine: from (column, row, slice) to RAS+ millimetres; None where unknown.
    """

    def __init__(self, shape: tuple[int, ...], spacing_mm: Spacing | None, affine: Affine | None) -> None:
        self._writer = _SliceWriter(shape, np.uint16, spacing_mm, affine, slope=1 / MAX_LEVEL)

    def add(self, index: int, probability: Float32Array) -> None:
        """Add the next slice.

        Args:
            index: of the slice, from 0 in order.
            probability: float32 in [0, 1], (row, column).

        Raises:
            ValueError: another slice was due (a bug in the caller).
        """
        self._writer.add(_quantise_slice(probability), index)

    def finish(self) -> bytes:
        """The file, after every slice was added."""
        return self._writer.finish()


def quantise(probability: Float32Array) -> npt.NDArray[np.uint16]:
    """Probabilities in 65536 levels."""
    return np.stack([_quantise_slice(one) for one in probability])  # one slice at a time is in float64


def _quantise_slice(probability: Float32Array) -> npt.NDArray[np.uint16]:
    return np.rint(probability * np.float64(MAX_LEVEL)).astype(np.uint16)


def read_mask(data: bytes) -> Mask:
    """Read a mask that `write_mask` wrote.

    Raises:
        ProcessingFailed: the bytes are damaged.
    """
    mask: Mask = _read_stored(data) > 0
    return mask


def read_probability(data: bytes) -> Float32Array:
    """Read a probability map that `write_probability` wrote.

    Raises:
        ProcessingFailed: the bytes are damaged.
    """
    probability: Float32Array = np.divide(_read_stored(data), MAX_LEVEL).astype(np.float32)
    return probability


def restore_uploaded_grid(data: bytes, grid: Grid) -> bytes:
    """Convert a stored mask or probability map to the order and geometry of the uploaded NIfTI file.

    Voxels are only reordered: the stored numbers do not change, and the header's geometry is copied field by field.

    Args:
        data: from `write_mask` or `write_probability`.
        grid: of the result, with its `nifti`.

    Returns:
        A `.nii.gz`.

    Raises:
        ProcessingFailed: the bytes are damaged.
        NotAvailable: the upload was not NIfTI.
    """
    fields = grid.nifti
    if fields is None:
        raise NotAvailable("The upload was no NIfTI file, so there is no header to go back to.")
    voxels = from_canonical(_read_stored(data), grid)
    kind = nibabel.Nifti1Header if fields.version == 1 else nibabel.Nifti2Header
    header: Any = kind()  # type: ignore[no-untyped-call]
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(fields.dim)
    header["pixdim"][:4] = fields.pixdim
    for name, row in zip("xyz", fields.srow, strict=True):
        header[f"srow_{name}"] = row
    for name, value in zip("bcd", fields.quatern, strict=True):
        header[f"quatern_{name}"] = value
    for name, value in zip("xyz", fields.qoffset, strict=True):
        header[f"qoffset_{name}"] = value
    header["qform_code"], header["sform_code"] = fields.qform_code, fields.sform_code
    header["xyzt_units"] = fields.xyzt_units
    if voxels.dtype == np.uint16:
        header.set_slope_inter(1 / MAX_LEVEL, 0)
    header["vox_offset"] = len(header.binaryblock) + len(NO_EXTENSION)
    return igzip.compress(header.binaryblock + NO_EXTENSION + voxels.tobytes(order="F"), COMPRESSION_LEVEL, mtime=0)


class _SliceWriter:
    """Writes a `.nii.gz` slice by slice."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: type[np.uint8 | np.uint16],
        spacing_mm: Spacing | None,
        affine: Affine | None,
        slope: float = 1,
    ) -> None:
        values = np.broadcast_to(dtype(0), shape[::-1])  # of that shape without its memory
        image: Any = nibabel.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
        if affine is not None or spacing_mm is not None:
            image.header.set_xyzt_units("mm")
        if affine is None and spacing_mm is not None:  # the spacing is known, the position is not
            image.header.set_zooms(spacing_mm[::-1])
        image.header.set_slope_inter(slope, 0)
        image.header["vox_offset"] = len(image.header.binaryblock) + len(NO_EXTENSION)
        self._dtype, self._slices, self._added = dtype, shape[0], 0
        self._gzip = isal_zlib.compressobj(COMPRESSION_LEVEL, isal_zlib.DEFLATED, isal_zlib.MAX_WBITS | 16)
        self._chunks = [self._gzip.compress(image.header.binaryblock + NO_EXTENSION)]

    def add(self, one: Array, index: int | None = None) -> None:
        """Add the next slice, (row, column); `index`, where given, is checked."""
        if index not in (None, self._added):
            raise ValueError(f"slice {index} was added where {self._added} was due")
        self._chunks.append(self._gzip.compress(np.ascontiguousarray(one, self._dtype)))
        self._added += 1

    def finish(self) -> bytes:
        """The file."""
        if self._added != self._slices:
            raise ValueError(f"{self._added} of {self._slices} slices were added")
        return b"".join([*self._chunks, self._gzip.flush()])


def _read_stored(data: bytes) -> Array:
    """The stored values, unscaled, as (slice, row, column)."""
    try:
        image: Any = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
        return np.asarray(image.dataobj.get_unscaled()).transpose()
    except DAMAGE as error:
        raise ProcessingFailed("A stored result is damaged; submit the study again.") from error
